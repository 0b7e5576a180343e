"""Sample sheets in TensorBoard while the training runs."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from genrev.figures import sample_sheet
from genrev.models import GenerativeRevNet

__all__ = ["SampleImages"]


class SampleImages(pl.Callback):
    """Log a sample sheet, always from the same noise, every so many steps.

    Args:
        every: steps between two sheets.
        n: images on a sheet.
    """

    def __init__(self, every: int, n: int = 100) -> None:
        super().__init__()
        self.every = every
        self.n = n

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Draw and log."""
        del outputs, batch, batch_idx
        if trainer.global_step % self.every or not trainer.is_global_zero:
            return
        model = pl_module.model
        assert isinstance(model, GenerativeRevNet)
        sheet = np.asarray(sample_sheet(model, self.n, seed=0).convert("RGB"))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(
                    "samples", sheet, trainer.global_step, dataformats="HWC"
                )
