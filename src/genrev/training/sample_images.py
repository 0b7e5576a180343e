"""Samples while the training runs: sheets in TensorBoard, and small ones kept as files."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from genrev.figures import sample_sheet, write_sheet
from genrev.models import GenerativeModule
from genrev.training.event_file import EventFile

__all__ = ["SampleImages"]


class SampleImages(pl.Callback):
    """Draw samples before the first step and after every so many, always from the same noise.

    A sheet of ``n`` images goes to TensorBoard, a small one into ``folder``, from which
    `genrev figures` makes a strip and an animation of how samples changed (Figure 3).

    Args:
        every: steps between two sheets.
        folder: where the small sheets are kept.
        n: images on a sheet for TensorBoard.
    """

    def __init__(self, every: int, folder: Path, n: int = 100) -> None:
        super().__init__()
        self.every = every
        self.folder = folder
        self.n = n

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what the untrained model draws."""
        if trainer.global_step == 0 and trainer.is_global_zero:
            write_sheet(_model(pl_module), self.folder, 0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Draw, log and keep."""
        del outputs, batch, batch_idx
        if trainer.global_step % self.every or not trainer.is_global_zero:
            return
        model = _model(pl_module)
        write_sheet(model, self.folder, trainer.global_step)
        sheet = np.asarray(sample_sheet(model, self.n, seed=0).convert("RGB"))
        for logger in trainer.loggers:
            if isinstance(logger, EventFile):
                logger.log_image("samples", sheet, trainer.global_step)


def _model(pl_module: pl.LightningModule) -> GenerativeModule:
    model = pl_module.model
    assert isinstance(model, GenerativeModule)
    return model
