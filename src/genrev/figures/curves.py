"""Learning curves: metrics of a run over its steps, and the Fréchet distance over several runs.

``metrics.csv`` has a column ``step`` and one per metric. A cell is blank where a metric was not
logged, and a run that was interrupted and resumed may hold a step twice: the later row counts.

The Fréchet distance over seeds shows how stable a training is (Figure 10). Every run is a thin
line, the thick one is their mean, and the band reaches from the best to the worst, at the steps
that all have measured. The axis counts epochs, with steps above, where runs tell their epochs.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from genrev.errors import GenrevError
from genrev.figures.figure import FigureRun, Picture, panels
from genrev.files.paths import expand
from genrev.files.readers import read_csv
from genrev.words import counted

_COUNTERS = ("step", "epoch")  # columns that say when, not how good
_FEW = 20  # fewer points than this are drawn as they are
# Ratio of largest to smallest value from which a logarithmic axis reads better.
_WIDE, _WIDE_DISTANCE = 50.0, 10.0
_FRECHET = "frechet"

Series = dict[float, float]  #: Value of a metric at every step it was logged, in their order.


def draw_losses(run: FigureRun) -> Mapping[str, Picture]:
    """All metrics of the training."""
    if run.metrics is None or not read_metrics(run.metrics):
        return {}
    return {"losses.png": loss_curves(run.metrics)}


def draw_stability(run: FigureRun) -> Mapping[str, Picture]:
    """The Fréchet distance through the training, where it was measured (Figure 10, one seed)."""
    if run.metrics is None or not _finite(read_metrics(run.metrics).get(_FRECHET, {})):
        return {}
    return {"stability.png": frechet_curves({run.metrics.parent.name: run.metrics}, *run.frechet)}


def curves_of_seeds(
    metrics: Mapping[str, Path], frechet: tuple[str | None, int | None] = (None, None)
) -> Mapping[str, Picture]:
    """Figure 10 of several seeds, by the names of their runs; without distances, their losses."""
    files = {name: path for name, path in metrics.items() if path.is_file()}
    read = {name: series for name, path in files.items() if (series := read_metrics(path))}
    if not read:
        path = next(iter(metrics.values()))
        raise GenrevError(
            f"No run in {path.parent.parent} has a {path.name} with numbers yet; "
            "wait for the first steps of the training, or train with a smaller --trainer.log_every."
        )
    if any(_finite(series.get(_FRECHET, {})) for series in read.values()):
        return {"stability.png": frechet_curves(files, *frechet)}
    return {f"losses_{name}.png": loss_curves(files[name]) for name in read}


def read_metrics(csv_path: str | Path) -> dict[str, Series]:
    """Read a ``metrics.csv``: for every metric its values by step, blank cells left out.

    Raises:
        GenrevError: a file that is missing, has no column ``step``, or holds a cell that is not
            a number.
    """
    columns = _columns(expand(csv_path))
    return {name: series for name, series in columns.items() if series and name not in _COUNTERS}


def moving_average(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean of every value (N,) and its ``reach`` neighbours on either side, if there are any.

    Example:
        >>> moving_average(np.array([0.0, 3.0, 6.0, 0.0]), reach=1).tolist()
        [1.5, 3.0, 3.0, 3.0]
    """
    ones = np.ones(2 * reach + 1)
    middle = slice(reach, reach + len(values))
    return np.convolve(values, ones)[middle] / np.convolve(np.ones(len(values)), ones)[middle]


def loss_curves(csv_path: str | Path) -> Figure:
    """One panel per metric of a ``metrics.csv``, all over the same steps.

    An axis is logarithmic if its values are positive and span more than a factor of 50. Values that
    are not finite are counted in the title.

    Raises:
        GenrevError: the file cannot be read, or holds no metric.
    """
    metrics = read_metrics(csv_path)
    if not metrics:
        raise GenrevError(f"'{csv_path}' holds no metrics yet; wait for the run's first steps.")
    columns = min(3, math.ceil(math.sqrt(len(metrics))))
    rows = math.ceil(len(metrics) / columns)
    figure, axes = panels(rows, columns, len(metrics), (4.6 * columns, 3.0 * rows))
    for axis, (name, series) in zip(axes, metrics.items(), strict=True):
        _panel(axis, name, series)
    return figure


def mean_and_range(series: Sequence[Series]) -> tuple[np.ndarray, ...]:
    """Steps that all series have finite values at, and mean, minimum and maximum there.

    Example:
        >>> steps, mean, low, high = mean_and_range([{0: 4.0, 5: 2.0}, {0: 6.0, 9: 1.0}])
        >>> steps.tolist(), mean.tolist(), low.tolist(), high.tolist()
        ([0], [5.0], [4.0], [6.0])
    """
    finite = [_finite(one) for one in series]
    shared = sorted(set.intersection(*(set(one) for one in finite)))
    values = np.array([[one[step] for step in shared] for one in finite])  # (runs, steps)
    return np.array(shared), values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def frechet_curves(
    runs: Mapping[str, str | Path], features: str | None = None, samples: int | None = None
) -> Figure:
    """Fréchet distance over the epochs of one or several runs, whose last values the legend tells.

    ``runs`` are the ``metrics.csv`` by the names in the legend. Runs without a measurement are left
    out; values that are not finite are counted. ``features`` (a name, e.g. ``fid768``) and
    ``samples``, the number of these, stand at the axis.

    Raises:
        GenrevError: a file that cannot be read, or no run with a value in column ``frechet``.
    """
    read = {name: _columns(expand(path)) for name, path in runs.items()}
    curves = {name: one[_FRECHET] for name, one in read.items() if _finite(one.get(_FRECHET, {}))}
    if not curves:
        raise GenrevError(
            f"No metrics.csv of {', '.join(runs) or 'no run'} holds a Fréchet distance in a "
            f"column '{_FRECHET}'; train with --trainer.frechet_every."
        )
    figure, (axis,) = panels(1, 1, 1, (7.2, 4.6))
    width, dot = (1.8, 3) if len(curves) == 1 else (1.0, 2)
    finite = {name: _finite(series) for name, series in curves.items()}
    for name, series in finite.items():
        values, lost = list(series.values()), len(curves[name]) - len(series)
        label = f"{name}: {values[-1]:.4g}" + (f" ({lost} not finite)" if lost else "")
        axis.plot(list(series), values, linewidth=width, marker="o", ms=dot, label=label)
    if len(curves) > 1:
        steps, mean, low, high = mean_and_range(list(curves.values()))
        if len(steps):
            label = f"mean of {len(curves)}: {mean[-1]:.4g}"
            axis.fill_between(steps, low, high, color="0.5", alpha=0.25, linewidth=0, label="range")
            axis.plot(steps, mean, color="0.1", linewidth=2.2, label=label)
    values = [value for series in finite.values() for value in series.values()]
    if min(values) > 0 and max(values) > _WIDE_DISTANCE * min(values):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_ylim(bottom=0)
    count = counted(samples, "sample") if samples else None
    details = ", ".join(filter(None, [features, count]))
    axis.set_ylabel(f"Fréchet distance\n{details}".strip(), fontsize=11)
    axis.set_xlabel("step", fontsize=11)
    axis.legend(title="last value", fontsize=9, title_fontsize=9)
    axis.tick_params(labelsize=9)
    axis.grid(color="0.92", which="both")
    _count_epochs(axis, [read[name].get("epoch", {}) for name in curves])
    return figure


def _columns(path: Path) -> dict[str, Series]:
    try:
        names, rows = read_csv(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GenrevError(
            f"Cannot read the metrics '{path}': {reason}; name the metrics.csv of a run."
        ) from error
    if "step" not in names:
        raise GenrevError(f"'{path}' has no column 'step'; name the metrics.csv of a run.")
    columns: dict[str, Series] = {name: {} for name in names if name not in ("", "step")}
    for line, row in enumerate(rows, start=2):
        for name, series in columns.items():
            if (row[name] or "").strip():
                step = _number(row, "step", path, line)
                series[step] = _number(row, name, path, line)
    return {name: dict(sorted(series.items())) for name, series in columns.items()}


def _number(row: Mapping[str, str | None], name: str, path: Path, line: int) -> float:
    try:
        return float(row[name] or "")
    except ValueError as error:
        raise GenrevError(
            f"Line {line} of '{path}' has {row[name]!r} in column '{name}', which is not a number; "
            "remove or repair the line."
        ) from error


def _panel(axis: Axes, name: str, series: Series) -> None:
    finite = _finite(series)
    steps, values = list(finite), np.array(list(finite.values()))
    logarithmic = len(values) > 0 and values.min() > 0 and values.max() > _WIDE * values.min()
    if len(values) < _FEW:
        axis.plot(steps, values, color="#1f77b4", marker="o", markersize=4)
    else:
        axis.plot(steps, values, color="#9ecae1", linewidth=0.8)
        # On a logarithmic axis the eye averages logarithms, and so does the line.
        smooth = moving_average(np.log(values) if logarithmic else values, len(values) // 40)
        smooth = np.exp(smooth) if logarithmic else smooth
        axis.plot(steps, smooth, color="#08519c", linewidth=1.8)
    if logarithmic:
        axis.set_yscale("log")
    lost = len(series) - len(finite)
    axis.set_title(name + (f" ({lost} values not finite)" if lost else ""), fontsize=11)
    axis.set_xlabel("step", fontsize=10)
    axis.tick_params(labelsize=9, labelbottom=True)  # shared axes hide all but the lowest
    axis.grid(color="0.92")


def _count_epochs(axis: Axes, runs: Sequence[Series]) -> None:
    """Label the axis of steps in epochs, and the upper edge in steps, where all runs agree."""
    last = [next(reversed(epochs.items()), (0, 0)) for epochs in runs]
    known = [step / epoch for step, epoch in last if epoch > 0]
    if len(known) < len(runs) or max(known) > 1.01 * min(known):
        return
    steps = known[0]
    above = axis.secondary_xaxis("top")
    above.set_xlabel("step", fontsize=11)
    above.tick_params(labelsize=9)
    low, high = axis.get_xlim()
    ticks = MaxNLocator(nbins="auto", steps=[1, 2, 5, 10])
    epochs = ticks.tick_values(low / steps, high / steps)
    inside = [epoch for epoch in epochs if low <= epoch * steps <= high]
    axis.set_xticks([epoch * steps for epoch in inside], [f"{epoch:g}" for epoch in inside])
    axis.set_xlim(low, high)
    axis.set_xlabel("epoch", fontsize=11)


def _finite(series: Series) -> Series:
    return {step: value for step, value in series.items() if np.isfinite(value)}
