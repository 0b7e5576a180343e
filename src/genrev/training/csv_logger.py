"""metrics.csv that survives being resumed.

Lightning's own CSV logger deletes the file when a run is opened again. This one cuts it back to the
step of the checkpoint instead, so a resumed run ends with the same rows as an uninterrupted one.
"""

import csv
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

__all__ = ["CsvLogger"]


class CsvLogger(Logger):
    """Append one row per logged step.

    Args:
        path: the file.
        resume_step: rows of later steps are dropped first; 0 starts a new file.
    """

    def __init__(self, path: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self._resume_step = resume_step
        self._rows: list[dict[str, str]] | None = None
        self._fields: list[str] = ["step"]

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """There is one file, hence one version."""
        return ""

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write one row; a metric not seen before adds a column."""
        rows = self._load()
        # Lightning counts from 0 the step just taken; a row is named after the steps done.
        row = {"step": str((step or 0) + 1)}
        row |= {name: repr(float(value)) for name, value in metrics.items() if name != "epoch"}
        if rows and rows[-1]["step"] == row["step"]:
            rows[-1] |= row
            self._rewrite()
            return
        rows.append(row)
        new_fields = [name for name in row if name not in self._fields]
        if new_fields or not self.path.exists():
            self._fields += new_fields
            self._rewrite()
            return
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self._fields, restval="").writerow(row)

    def _load(self) -> list[dict[str, str]]:
        if self._rows is None:
            self._rows = []
            if self._resume_step and self.path.exists():
                with self.path.open(newline="") as file:
                    reader = csv.DictReader(file)
                    self._fields = list(reader.fieldnames or ["step"])
                    self._rows = [row for row in reader if self._is_kept(row)]
                self._rewrite()
        return self._rows

    def _is_kept(self, row: dict[str, str]) -> bool:
        # A process killed while writing leaves a last line that is cut off.
        complete = None not in row.values()
        return complete and row["step"].isdigit() and int(row["step"]) <= self._resume_step

    def _rewrite(self) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._fields, restval="")
            writer.writeheader()
            writer.writerows(self._rows or [])
        temporary.replace(self.path)
