"""Metrics of a run over its steps: the raw values pale, their moving average on top.

``metrics.csv`` has a column ``step`` and one column per metric. A cell is blank where a metric
was not logged, and a run that was interrupted and resumed may hold a step twice: the later row
counts.
"""

import math
import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from genrev.errors import GenrevError
from genrev.files.paths import expand
from genrev.files.readers import read_csv

__all__ = ["loss_curves", "moving_average", "read_metrics", "read_steps_per_epoch"]

_COUNTERS = ("step", "epoch")  # columns that say when, not how good
_FEW = 20  # fewer points than this are drawn as they are
_WIDE = 50.0  # ratio of largest to smallest value from which a logarithmic axis reads better

Series = dict[float, float]
"""Value of a metric at every step it was logged, in the order of the steps."""


def read_metrics(csv_path: str | os.PathLike[str]) -> dict[str, Series]:
    """Read a ``metrics.csv``: for every metric its values by step, blank cells left out.

    Raises:
        GenrevError: a file that is missing, has no column ``step``, or holds a cell that is not
            a number.
    """
    path = expand(csv_path)
    names, rows = _read(path)
    metrics: dict[str, Series] = {name: {} for name in names if name and name not in _COUNTERS}
    for line, row in enumerate(rows, start=2):
        for name, series in metrics.items():
            if (row[name] or "").strip():
                step = _number(row["step"], path, line, "step")
                series[step] = _number(row[name], path, line, name)
    return {name: dict(sorted(series.items())) for name, series in metrics.items() if series}


def read_steps_per_epoch(csv_path: str | os.PathLike[str]) -> float | None:
    """Steps that see every image once, by the last row; ``None`` without a column ``epoch``.

    Raises:
        GenrevError: as ``read_metrics``.
    """
    path = expand(csv_path)
    _, rows = _read(path)
    for line, row in reversed(list(enumerate(rows, start=2))):
        if (row.get("epoch") or "").strip():
            epoch = _number(row["epoch"], path, line, "epoch")
            return _number(row["step"], path, line, "step") / epoch if epoch > 0 else None
    return None


def moving_average(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean of every value and its ``reach`` neighbours on either side, as far as there are any.

    The window is centred, so unlike an exponential average it does not lag behind a fall.

    Args:
        values: finite numbers, shape (N,).
        reach: 0 returns the values themselves.

    Example:
        >>> moving_average(np.array([0.0, 3.0, 6.0, 0.0]), reach=1).tolist()
        [1.5, 3.0, 3.0, 3.0]
    """
    ones = np.ones(2 * reach + 1)
    middle = slice(reach, reach + len(values))
    return np.convolve(values, ones)[middle] / np.convolve(np.ones(len(values)), ones)[middle]


def loss_curves(csv_path: str | os.PathLike[str]) -> Figure:
    """One panel per metric of a ``metrics.csv``, all over the same steps.

    A panel has a logarithmic axis if its values are positive and span more than a factor of 50.
    Values that are not finite are left out and counted in the panel's title.

    Raises:
        GenrevError: the file cannot be read (see :func:`read_metrics`) or holds no metric.
    """
    metrics = read_metrics(csv_path)
    if not metrics:
        raise GenrevError(f"'{csv_path}' holds no metrics yet; wait for the run's first steps.")
    columns = min(3, math.ceil(math.sqrt(len(metrics))))
    rows = math.ceil(len(metrics) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.0 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    # One range of steps: a metric that is measured now and then, or from some step on, stands below
    # what happened at the same time.
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
    for axis, (name, series) in zip(axes, metrics.items(), strict=False):
        _panel(axis, name, series)
    for axis in axes[len(metrics) :]:
        axis.remove()
    return figure


def _read(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    try:
        names, rows = read_csv(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GenrevError(
            f"Cannot read the metrics '{path}': {reason}; name the metrics.csv of a run."
        ) from error
    if "step" not in names:
        raise GenrevError(f"'{path}' has no column 'step'; name the metrics.csv of a run.")
    return names, rows


def _panel(axis: Axes, name: str, series: Series) -> None:
    steps, values = np.array(list(series)), np.array(list(series.values()))
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    logarithmic = len(values) > 0 and values.min() > 0 and values.max() > _WIDE * values.min()
    if len(values) < _FEW:
        axis.plot(steps, values, color="#1f77b4", marker="o", markersize=4)
    else:
        axis.plot(steps, values, color="#9ecae1", linewidth=0.8)
        reach = len(values) // 40
        # On a logarithmic axis the eye averages logarithms, and so does the line.
        smooth = (
            np.exp(moving_average(np.log(values), reach))
            if logarithmic
            else moving_average(values, reach)
        )
        axis.plot(steps, smooth, color="#08519c", linewidth=1.8)
    if logarithmic:
        axis.set_yscale("log")
    lost = int((~finite).sum())
    axis.set_title(name + (f" ({lost} values not finite)" if lost else ""), fontsize=11)
    axis.set_xlabel("step", fontsize=10)
    axis.tick_params(labelsize=9, labelbottom=True)  # shared axes hide all but the lowest
    axis.grid(color="0.92")


def _number(text: str | None, path: Path, line: int, name: str) -> float:
    try:
        return float(text or "")
    except ValueError as error:
        raise GenrevError(
            f"Line {line} of '{path}' has {text!r} in column '{name}', which is not a number; "
            "remove or repair the line."
        ) from error
