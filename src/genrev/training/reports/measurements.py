"""Numbers that are measured through a training, and metrics.csv, where they go.

Lightning's own CSV logger deletes the file when a run is opened again, and loggers hear of a step
only after callbacks have saved it. ``MetricsCsv`` writes a step's row before its checkpoint, and a
resumed run cuts the file back to that: it ends with the same rows as an uninterrupted one.
"""

import csv
import io
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import lightning.pytorch as pl
from torch import Tensor

from genrev.errors import GenrevError
from genrev.files.readers import read_csv
from genrev.files.writing import write_text
from genrev.models import GenerativeModel
from genrev.training.steps.module import model_of

Measured: TypeAlias = dict[str, float]
_LONGEST_STEP = 20  # digits


class Measurements(pl.Callback):
    """Measure something ``every`` so many steps or never, for the loggers and ``metrics.csv``."""

    def __init__(self, every: int | None) -> None:
        super().__init__()
        self.every = every
        # Not given to ``log``, which repeats a value until the next one: a resumed run does not
        # know it, and would write other rows than an uninterrupted one.
        self.measured: Measured = {}  # of the step that just ended

    @abstractmethod
    def measure(
        self, trainer: pl.Trainer, model: GenerativeModel, images: Tensor, labels: Tensor
    ) -> Measured:
        """The numbers by name, the same on all ranks; the images of the step are uint8."""

    def after(self, trainer: pl.Trainer, model: GenerativeModel) -> None:
        """What is to be done with what was measured."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        self.measured = {}
        if self.every is None or trainer.global_step % self.every:
            return
        model = model_of(pl_module)  # the weights as they are, not their average
        self.measured = self.measure(trainer, model, rest[1]["image"], rest[1]["label"])
        if self.measured:
            for logger in trainer.loggers:
                logger.log_metrics(self.measured, trainer.global_step)
            self.after(trainer, model)


class PeriodicMeasurement(Measurements):
    """Measure one number, the same for the same weights, on the first rank; the others wait."""

    def __init__(
        self, name: str, every: int | None, number: Callable[[GenerativeModel], float]
    ) -> None:
        super().__init__(every)
        self.name, self.number = name, number

    def measure(
        self, trainer: pl.Trainer, model: GenerativeModel, images: Tensor, labels: Tensor
    ) -> Measured:
        number = self.number(model) if trainer.is_global_zero else math.nan
        # All ranks know it, since all take part in writing a row of metrics.csv.
        return {self.name: trainer.strategy.broadcast(number)}


class MetricsCsv(pl.Callback):
    """Append a row every so many steps and at measurements; rows past ``resume_step`` go first."""

    def __init__(
        self,
        path: Path,
        every: int,
        measurements: Sequence[Measurements],
        resume_step: int,
        steps_per_epoch: float | None,
    ) -> None:
        super().__init__()
        self.path, self.every = path, every
        self.measurements, self.steps_per_epoch = measurements, steps_per_epoch
        self._fields = ["step"]
        self._rows: list[dict[str, str | None]] = []
        if resume_step and path.exists():
            try:
                names, rows = read_csv(path)
            except (OSError, ValueError) as error:
                raise GenrevError(
                    f"{path} is not what a training writes ({error}); move it away."
                ) from error
            self._fields = names or self._fields
            self._rows = [row for row in rows if _is_kept(row, resume_step)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._rewrite()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *rest: Any) -> None:
        measured = {k: v for source in self.measurements for k, v in source.measured.items()}
        if trainer.global_step % self.every and not measured:
            return
        metrics = trainer.callback_metrics  # on every rank: a mean over ranks is taken here
        row: dict[str, str | None] = {"step": str(trainer.global_step)}
        if self.steps_per_epoch is not None:
            row["epoch"] = repr(round(trainer.global_step / self.steps_per_epoch, 4))
        row |= {name: repr(float(value)) for name, value in metrics.items()}
        row |= {name: repr(value) for name, value in measured.items()}
        if not trainer.is_global_zero:
            return
        self._rows.append(row)
        if new_fields := [name for name in row if name not in self._fields]:
            self._fields += new_fields
            self._rewrite()
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._fields, restval="").writerow(row)

    def _rewrite(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self._fields, restval="")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())


def _is_kept(row: dict[str, str | None], resume_step: int) -> bool:
    # A process killed while writing leaves a last line that is cut off.
    step = row.get("step") or ""
    complete = None not in row.values() and step.isdecimal() and len(step) < _LONGEST_STEP
    return complete and int(step) <= resume_step
