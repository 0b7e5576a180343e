"""What a search has found: a table, a plot, and the best recipe as YAML.

==========  ===========================================
trials.csv  one row per trial
trials.png  their curves, and their values by each key
best.yaml   a recipe with the values of the best trial
==========  ===========================================
"""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from genrev.figures.figure import save_image
from genrev.files.paths import writing
from genrev.files.readers import dump_yaml, read_yaml_value
from genrev.files.writing import write_text
from genrev.words import counted

BEST_FILE, TABLE_FILE, PLOT_FILE = "best.yaml", "trials.csv", "trials.png"
DONE, STOPPED, UNFINISHED, FAILED = "done", "stopped early", "unfinished", "failed"
_ORDER = (DONE, STOPPED, UNFINISHED, FAILED)
_COLOURS = {DONE: "#08519c", STOPPED: "#9ecae1", UNFINISHED: "#fdae6b", FAILED: "#de2d26"}
_WIDE = 10.0  # ratio of largest to smallest value from which a logarithmic axis reads better
_LONG = 8  # characters from which names on an axis would touch
_SHOWN = 60  # characters of a reason in the printed table


@dataclass(frozen=True)
class Row:
    """One trial."""

    number: int
    state: str  #: done, stopped early, unfinished or failed
    value: float | None  #: of the finished model, or the last that was measured
    steps: int  #: at the last measurement
    seconds: float  #: of training, data and measurements
    options: dict[str, str]  #: by key, as the command line has them
    curve: dict[int, float]  #: the measurements by step
    run: Path  #: the run folder
    error: str = ""  #: why it failed

    def plain(self) -> dict[str, Any]:
        """The values as JSON has them."""
        return {
            "trial": self.number,
            "state": self.state,
            "value": self.value,
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "options": {key: read_yaml_value(text) for key, text in self.options.items()},
            "run": str(self.run),
            "error": self.error or None,
        }


@dataclass(frozen=True)
class Search:
    """What a search has found so far.

    Attributes:
        folder: of the search.
        metric: what trials are compared by; less is better.
        rows: all trials, the best first.
        finished: False when a signal stopped the search.
    """

    folder: Path
    metric: str
    rows: list[Row]
    finished: bool = True

    @property
    def best(self) -> Row | None:
        """The finished trial of the lowest value; ``None`` as long as none has finished."""
        return next((row for row in self.rows if row.state == DONE), None)

    def plain(self) -> dict[str, Any]:
        """The values as JSON has them."""
        best = None if self.best is None else self.best.plain()
        rows = [row.plain() for row in self.rows]
        return {"metric": self.metric, "folder": str(self.folder), "best": best, "trials": rows}

    def text(self) -> str:
        """The table as it is printed."""
        keys = list(self.rows[0].options) if self.rows else []
        lines = [["trial", "state", self.metric, "steps", "seconds", *keys, ""]]
        lines += [_cells(row, keys) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.rjust(w) for cell, w in zip(line[:-1], widths, strict=False)).rstrip()
            + f"  {line[-1]}".rstrip()
            for line in lines
        )


def in_order(rows: list[Row]) -> list[Row]:
    """Finished trials from the lowest value on, then those that got furthest."""

    def rank(row: Row) -> tuple[float, ...]:
        value = math.inf if row.value is None else row.value
        return _ORDER.index(row.state), 0 if row.state == DONE else -row.steps, value, row.number

    return sorted(rows, key=rank)


def write_results(search: Search, best: dict[str, Any]) -> None:
    """Write the table, the plot, and the values of the best recipe if there is one."""
    with writing(search.folder):
        write_text(search.folder / TABLE_FILE, _table(search))
        if search.best is not None:
            trials, steps = counted(len(search.rows), "trial"), counted(search.best.steps, "step")
            told = f"{search.metric} {search.best.value:.6g} after {steps}"
            head = f"# Best of {trials}, number {search.best.number:03d}: {told}\n"
            write_text(search.folder / BEST_FILE, head + dump_yaml(best))
    save_image(draw_trials(search), search.folder / PLOT_FILE)


def draw_trials(search: Search) -> Figure:
    """The measurements of all trials by step, and the value of each trial by each key."""
    keys = list(search.rows[0].options) if search.rows else []
    columns = min(3, 1 + len(keys))
    rows = math.ceil((1 + len(keys)) / columns)
    figure = Figure(figsize=(4.8 * columns, 3.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes[1 + len(keys) :]:
        axis.remove()
    for row in reversed(search.rows):  # the best on top
        best = row == search.best
        colour, width = ("black", 2.2) if best else (_COLOURS[row.state], 1.0)
        label = f"best: trial {row.number:03d}" if best else None
        steps, values = list(row.curve), list(row.curve.values())
        axes[0].plot(steps, values, color=colour, linewidth=width, marker="o", ms=3, label=label)
    axes[0].set_xlabel("step")
    axes[0].set_ylabel(search.metric)
    if search.best is not None:
        axes[0].legend(fontsize=9)
    for axis, key in zip(axes[1:], keys, strict=False):
        _scatter(axis, search, key)
    if keys and axes[1].collections:
        axes[1].legend(fontsize=9)  # the same for all keys
    measured = [value for row in search.rows for value in row.curve.values()]
    for axis in axes[: 1 + len(keys)]:
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
        if _is_wide(measured):
            axis.set_yscale("log")
    return figure


def _scatter(axis: Axes, search: Search, key: str) -> None:
    """Values of trials by those of one key; numbers on an axis of numbers."""
    shown = [row for row in search.rows if row.value is not None]
    values = [read_yaml_value(row.options[key]) for row in shown]
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    names = sorted({row.options[key] for row in shown})
    places = values if numbers else [names.index(row.options[key]) for row in shown]
    for state in _ORDER:
        chosen = [
            (x, row.value) for x, row in zip(places, shown, strict=True) if row.state == state
        ]
        if chosen:
            x, y = zip(*chosen, strict=True)
            axis.scatter(x, y, s=18, color=_COLOURS[state], label=state)
    if not numbers:
        axis.margins(x=0.2)
        slanted: dict[str, Any] = (
            {"rotation": 20, "ha": "right"} if max(map(len, names)) > _LONG else {}
        )
        axis.set_xticks(range(len(names)), names, fontsize=8, **slanted)
    elif _is_wide(places):
        axis.set_xscale("log")
        axis.minorticks_off()
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.locator_params(axis="x", nbins=4)  # labels of small numbers are long
    axis.set_xlabel(key)


def _is_wide(values: list[float]) -> bool:
    """Whether a logarithmic axis reads better."""
    return len(values) > 0 and min(values) > 0 and max(values) > _WIDE * min(values)


def _cells(row: Row, keys: list[str]) -> list[str]:
    value = "" if row.value is None else f"{row.value:.4g}"
    error = row.error if len(row.error) <= _SHOWN else f"{row.error[: _SHOWN - 3]}..."
    told = [f"{row.number:03d}", row.state, value, str(row.steps), f"{row.seconds:.0f}"]
    return [*told, *(row.options[key] for key in keys), error]


def _table(search: Search) -> str:
    keys = list(search.rows[0].options) if search.rows else []
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["trial", "state", search.metric, "steps", "seconds", *keys, "run", "error"])
    for row in search.rows:
        value = "" if row.value is None else repr(row.value)
        told = [f"{row.number:03d}", row.state, value, row.steps, round(row.seconds, 1)]
        writer.writerow([*told, *(row.options[key] for key in keys), row.run, row.error])
    return text.getvalue()
