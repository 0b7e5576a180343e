"""Numbers that are measured after every so many steps."""

import math
from abc import abstractmethod
from typing import Any

import lightning.pytorch as pl

from genrev.data import ImageData
from genrev.models import GenerativeModel
from genrev.training.methods.method import HeldOut
from genrev.training.reports.metrics_csv import Measurements
from genrev.training.steps.module import model_of


class PeriodicMeasurement(Measurements):
    """Measure one number of the model, log it, and offer it to ``metrics.csv``.

    The first rank measures while the others wait. The weights are measured as they are, not their
    average, where there is one. ``every`` is in steps; ``None`` measures nothing.
    """

    def __init__(self, name: str, every: int | None) -> None:
        super().__init__()
        self.name = name
        self.every = every
        self.measured: dict[str, float] = {}
        """The number after the step that just ended; empty where it was not measured."""

    @abstractmethod
    def number(self, model: GenerativeModel) -> float:
        """The number, the same for the same weights; asked of the first rank alone."""

    def after(self, model: GenerativeModel, number: float) -> None:
        """What is to be done with a number once it is measured; asked of the first rank alone."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        self.measured = {}
        step = trainer.global_step
        if self.every is None or step % self.every:
            return
        model = model_of(pl_module)
        number = self.number(model) if trainer.is_global_zero else math.nan
        # All ranks know it, since all take part in writing a row of metrics.csv.
        self.measured = {self.name: trainer.strategy.broadcast(number)}
        for logger in trainer.loggers:
            logger.log_metrics(self.measured, step)
        if trainer.is_global_zero:
            self.after(model, number)


class HeldOutMeasurement(PeriodicMeasurement):
    """What a method measures on the test split, every ``epoch`` of steps if it does not say."""

    def __init__(self, held_out: HeldOut, data: ImageData, epoch: int) -> None:
        super().__init__(held_out.name, held_out.every or epoch)
        self.held_out = held_out
        self.data = data

    def number(self, model: GenerativeModel) -> float:
        return self.held_out.measure(model, self.data)
