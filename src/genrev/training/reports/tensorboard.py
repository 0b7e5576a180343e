"""What TensorBoard is shown: losses, and sheets of samples, which are kept as files, too."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar

from genrev.figures import sample_sheet, write_sheet
from genrev.training.steps.module import model_of

_IMAGES = 100  # of a sheet


class EventFile(Logger):
    """Scalars and pictures for TensorBoard, from the first process, written at once."""

    # Lightning's logger reads :: and $ in the name of a folder as more than letters, and writes
    # from another thread, which tells of a full disk by a traceback and goes.

    name, version = "", None  # a version would stand in the progress bar

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._writer: Any = None  # TensorBoard is not typed

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for name, value in metrics.items():
            self._write(Event(step=step, summary=scalar(name, float(value))))

    @rank_zero_only
    def log_image(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Write a picture, uint8 (H, W, 3)."""
        self._write(Event(step=step, summary=image(name, pixels, dataformats="HWC")))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, event: Event) -> None:
        if self._writer is None:
            now, host = int(time.time()), socket.gethostname()
            name = f"events.out.tfevents.{now}.{host}.{os.getpid()}.{time.perf_counter_ns()}"
            self._writer = RecordWriter((self.folder / name).open("xb"))
            self._write(Event(file_version="brain.Event:2"))
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
        self._writer.flush()


class SampleImages(pl.Callback):
    """Draw samples before the first step, after so many, and after the last.

    They go to TensorBoard and into ``folder``.
    """

    def __init__(self, every: int, folder: Path) -> None:
        super().__init__()
        self.every, self.folder = every, folder

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero:
            write_sheet(model_of(pl_module), self.folder, 0)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        # The timer ends a run before this is called, a signal only afterwards.
        last = trainer.should_stop or trainer.global_step >= trainer.max_steps
        due = last or trainer.global_step % self.every == 0
        if not (due and trainer.is_global_zero):
            return
        model = model_of(pl_module)
        write_sheet(model, self.folder, trainer.global_step)
        sheet = np.asarray(sample_sheet(model, _IMAGES, seed=0).convert("RGB"))
        for logger in trainer.loggers:
            if isinstance(logger, EventFile):
                logger.log_image("samples", sheet, trainer.global_step)
