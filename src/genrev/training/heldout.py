"""Bits per dimension of images held out from the training, through the training."""

import math
from typing import Any

import lightning.pytorch as pl

from genrev.data import ImageData
from genrev.evaluation import likelihood_report
from genrev.models import GenerativeModule
from genrev.training.metrics_csv import Measurements

__all__ = ["HeldOutLikelihood"]


class HeldOutLikelihood(Measurements):
    """Measure ``heldout_bits_per_dim`` after every so many steps, always with the same noise.

    It is logged to the loggers and to ``metrics.csv``. The first rank measures while the others
    wait. The weights are measured as they are, not their average, where there is one.

    Args:
        data: the held-out images.
        every: steps between two measurements.
    """

    def __init__(self, data: ImageData, every: int) -> None:
        super().__init__()
        self.data = data
        self.every = every
        self.measured: dict[str, float] = {}
        """The number after the step that just ended; empty where it was not measured."""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Measure and log."""
        del outputs, batch, batch_idx
        self.measured = {}
        step = trainer.global_step
        if step % self.every:
            return
        model = pl_module.model
        assert isinstance(model, GenerativeModule)
        bits = math.nan
        if trainer.is_global_zero:
            bits = likelihood_report(model, self.data)["bits_per_dim"]
        # All ranks know it, since all take part in writing a row of metrics.csv.
        self.measured = {"heldout_bits_per_dim": trainer.strategy.broadcast(bits)}
        for logger in trainer.loggers:
            logger.log_metrics(self.measured, step)
