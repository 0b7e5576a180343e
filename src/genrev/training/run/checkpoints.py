"""Checkpoints: when they are written, and how they get to the disk and back."""

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import CheckpointIO

from genrev.errors import GenrevError
from genrev.files.writing import replacing
from genrev.training.reports.measurements import Measurements
from genrev.training.run.beginning import Beginning
from genrev.training.run.folder import RunFolder

Watch: TypeAlias = Callable[[int, Mapping[str, float]], str | None]
"""Is told each step, and what was measured at it; a text ends the training and says by what."""

_last_signal: int | None = None  # that a training of this process was told to stop by
_KEEP = 2  # the newest may be damaged by a dying disk; the one before is the way back


class CheckpointCallback(pl.Callback):
    """Write checkpoints every so many steps, at the end, and when Ctrl-C and SIGTERM ask for it."""

    def __init__(
        self,
        folder: RunFolder,
        every: int,
        max_steps: int,
        began: Beginning,
        measuring: Sequence[Measurements] = (),
        watch: Watch | None = None,
    ) -> None:
        super().__init__()
        self.measuring, self.watch = measuring, watch
        self.folder, self.every, self.max_steps, self.began = folder, every, max_steps, began
        self.stopped_by: str | None = None
        self._asked_by: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the two signals, after Lightning has set its own handlers."""
        if threading.current_thread() is not threading.main_thread():
            return  # Python lets the main thread alone handle signals
        for name in (signal.SIGINT, signal.SIGTERM):
            self._previous[name] = signal.signal(name, self._stop)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        measured = {k: v for source in self.measuring for k, v in source.measured.items()}
        why = self.watch(trainer.global_step, measured) if self.watch is not None else None
        # The model itself is written next; from this step on the run can only be made longer.
        last, stop = trainer.global_step >= self.max_steps, False
        if not last:
            # One rank may be told to stop before another: all must leave the loop at the same step.
            asked = self._asked_by or why
            stop = trainer.strategy.reduce_boolean_decision(asked is not None, all=False)
        if stop:
            self.stopped_by = asked or "a signal to another rank"
            trainer.should_stop = True
        if stop or (last and self.folder.kept) or trainer.global_step % self.every == 0:
            require_finite_weights(pl_module, trainer.global_step)
            path = self.folder.checkpoints / f"step{trainer.global_step}.ckpt"
            # Returns on all ranks when rank 0 has written.
            trainer.save_checkpoint(path, weights_only=False)
            if trainer.is_global_zero and not last:
                for _, old in self.folder.steps_of_checkpoints()[:-_KEEP]:
                    old.unlink()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["genrev"] = self.began

    def on_train_end(self, *unused: Any) -> None:
        for name, handler in self._previous.items():
            signal.signal(name, handler)
        self._previous.clear()

    on_exception = on_train_end  # type: ignore[assignment]

    def pass_on(self) -> None:
        """Raise ``KeyboardInterrupt`` where a signal came too late: others may be to follow."""
        if self._asked_by is not None and self.stopped_by is None:
            raise KeyboardInterrupt

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._asked_by is not None:  # asked twice: now
            raise KeyboardInterrupt
        self._asked_by = signal.Signals(number).name
        global _last_signal
        _last_signal = number


def stopping_signal() -> int:
    """The number of the signal that stopped a training of this process, or one of its ranks."""
    return _last_signal or int(signal.SIGINT)


def require_finite_weights(module: pl.LightningModule, step: int) -> None:
    """Raise ``GenrevError`` rather than let weights be saved that are no numbers."""
    if not all(bool(torch.isfinite(p).all()) for p in module.parameters()):
        raise GenrevError(
            f"The weights stopped being finite by step {step}, so training stopped and "
            "nothing was saved; start again in another folder with a lower --optimizer.lr, or "
            "gradients clipped lower (--optimizer.clip)."
        )


class CheckpointFiles(CheckpointIO):
    """Files of ``torch.save``, whole or not at all, on the disk and under the name given."""

    # Lightning stages them in the system's folder for temporary files, which may be small, and
    # reads names such as a::b or http-run as addresses.

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        try:
            with replacing(Path(path)) as temporary, temporary.open("xb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except RuntimeError as error:
            # The archive that could not be written complains when it is closed.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        return cast(dict[str, Any], torch.load(path, map_location, weights_only=weights_only))

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)
