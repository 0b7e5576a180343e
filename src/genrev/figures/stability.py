"""Learning curves of the Fréchet distance over seeds: how stable a training is (Figure 10).

Every run is a thin line. Where there are several, their mean is the thick line and the band
reaches from the best to the worst of them, at the steps that all of them have measured. As in the
paper the axis counts epochs; steps stand above. Runs that do not tell their epochs have steps only.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from genrev.errors import GenrevError
from genrev.figures.curves import Series, read_metrics, read_steps_per_epoch

__all__ = ["frechet_curves", "mean_and_range"]

_METRIC = "frechet"
_WIDE = 10.0  # ratio of largest to smallest distance from which a logarithmic axis reads better


def mean_and_range(
    series: Sequence[Series],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
    runs: Mapping[str, str | os.PathLike[str]],
    features: str | None = None,
    samples: int | None = None,
) -> Figure:
    """Fréchet distance over the epochs of one or several runs.

    The legend repeats the last value of every run. Runs that have not measured anything yet are
    left out; values that are not finite are left out and counted in the legend.

    Args:
        runs: ``metrics.csv`` of every run, under the name that the legend has for it.
        features: name of the features, e.g. ``fid768``.
        samples: number of samples of each measurement.

    Raises:
        GenrevError: a file that cannot be read, or no run with a value in column ``frechet``.
    """
    read = {name: read_metrics(path).get(_METRIC, {}) for name, path in runs.items()}
    curves = {name: series for name, series in read.items() if _finite(series)}
    if not curves:
        raise GenrevError(
            f"No metrics.csv of {', '.join(runs) or 'no run'} holds a Fréchet distance in a "
            f"column '{_METRIC}'; train with --trainer.frechet_every."
        )
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for name, series in curves.items():
        _draw_run(axis, name, series, alone=len(curves) == 1)
    if len(curves) > 1:
        _draw_band(axis, list(curves.values()))
    values = [value for series in curves.values() for value in _finite(series).values()]
    if min(values) > 0 and max(values) > _WIDE * min(values):
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_ylim(bottom=0)
    _describe(axis, features, samples)
    _count_epochs(axis, [read_steps_per_epoch(runs[name]) for name in curves])
    return figure


def _draw_run(axis: Axes, name: str, series: Series, alone: bool) -> None:
    finite = _finite(series)
    lost = len(series) - len(finite)
    label = f"{name}: {list(finite.values())[-1]:.4g}"
    axis.plot(
        list(finite),
        list(finite.values()),
        linewidth=1.8 if alone else 1.0,
        marker="o",
        markersize=3 if alone else 2,
        label=label + (f" ({lost} not finite)" if lost else ""),
    )


def _draw_band(axis: Axes, series: list[Series]) -> None:
    steps, mean, low, high = mean_and_range(series)
    if not len(steps):
        return
    axis.fill_between(steps, low, high, color="0.5", alpha=0.25, linewidth=0, label="range")
    axis.plot(
        steps, mean, color="0.1", linewidth=2.2, label=f"mean of {len(series)}: {mean[-1]:.4g}"
    )


def _describe(axis: Axes, features: str | None, samples: int | None) -> None:
    details = [features] if features else []
    details += [f"{samples:,} samples"] if samples else []
    axis.set_ylabel("\n".join(["Fréchet distance", ", ".join(details)]).strip(), fontsize=11)
    axis.set_xlabel("step", fontsize=11)
    axis.legend(title="last value", fontsize=9, title_fontsize=9)
    axis.tick_params(labelsize=9)
    axis.grid(color="0.92", which="both")


def _count_epochs(axis: Axes, steps_per_epoch: Sequence[float | None]) -> None:
    """Label the axis of steps in epochs, and the upper edge in steps, where all runs agree."""
    known = [steps for steps in steps_per_epoch if steps is not None]
    if len(known) < len(steps_per_epoch) or max(known) > 1.01 * min(known):
        return
    steps = known[0]
    above = axis.secondary_xaxis("top")
    above.set_xlabel("step", fontsize=11)
    above.tick_params(labelsize=9)
    # Ticks at round numbers of epochs, placed where their steps are.
    epochs = MaxNLocator(nbins="auto", steps=[1, 2, 5, 10]).tick_values(
        *(edge / steps for edge in axis.get_xlim())
    )
    low, high = axis.get_xlim()
    inside = [epoch for epoch in epochs if low <= epoch * steps <= high]
    axis.set_xticks([epoch * steps for epoch in inside], [f"{epoch:g}" for epoch in inside])
    axis.set_xlim(low, high)
    axis.set_xlabel("epoch", fontsize=11)


def _finite(series: Series) -> Series:
    return {step: value for step, value in series.items() if np.isfinite(value)}
