"""A number that is measured on held-out images through the training."""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl

from genrev.data import ImageData, load_images
from genrev.evaluation import likelihood_report
from genrev.models import GenerativeModule
from genrev.training.config import RunConfig
from genrev.training.metrics_csv import Measurements

__all__ = ["HeldOut", "held_out_likelihood"]


class HeldOut(Measurements):
    """Measure something after every so many steps.

    It is logged to the loggers and to ``metrics.csv``. The first rank measures while the others
    wait. The weights are measured as they are, not their average, where there is one.

    Args:
        name: of the number.
        measure: from the model and the images to the number, the same for the same weights.
        data: the held-out images.
        every: steps between two measurements.
    """

    def __init__(
        self,
        name: str,
        measure: Callable[[GenerativeModule, ImageData], float],
        data: ImageData,
        every: int,
    ) -> None:
        super().__init__()
        self.name = name
        self.measure = measure
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
        number = self.measure(model, self.data) if trainer.is_global_zero else math.nan
        # All ranks know it, since all take part in writing a row of metrics.csv.
        self.measured = {self.name: trainer.strategy.broadcast(number)}
        for logger in trainer.loggers:
            logger.log_metrics(self.measured, step)


def held_out_likelihood(config: RunConfig, data: ImageData, every: int | None) -> HeldOut:
    """The bits per dimension of the test split of a run's data, always with the same noise.

    Args:
        config: of the run.
        data: its training images.
        every: steps between two measurements; ``None`` for those of an epoch.

    Raises:
        GenrevError: there is no test split.
    """
    epoch = math.ceil(len(data) / config.batch_size)
    test = load_images(config.data, "test")
    return HeldOut("heldout_bits_per_dim", _bits_per_dim, test, every or epoch)


def _bits_per_dim(model: GenerativeModule, data: ImageData) -> float:
    return likelihood_report(model, data)["bits_per_dim"]
