"""Search for options of a recipe: trials are runs, and successive halving ends most of them early.

Optuna suggests values from what was measured so far (tree-structured Parzen estimators, Bergstra et
al. 2011). Trials are compared by the Fréchet distance during training at a ninth, a third and all
of their length, and of those that get to one of these the best third goes on (asynchronous
successive halving, Li et al. 2020).
"""

import contextlib
import io
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import OutOfMemoryError

from genrev import training
from genrev.data import ImageStream, load_images, open_stream, sample_stream
from genrev.errors import GenrevError
from genrev.extras import require
from genrev.files.paths import expand
from genrev.models import load
from genrev.models.saving import model_info
from genrev.priors import PRIORS
from genrev.recipes.parsing import merge, parse_config, set_key
from genrev.recipes.shipped import read_recipe
from genrev.searching.results import DONE, FAILED, STOPPED, Row, Search, write_results
from genrev.searching.space import Over, Parameter, read_space, require_right
from genrev.searching.study import Study, claim
from genrev.training import RunConfig, RunFolder
from genrev.training.reports.frechet_curve import FrechetCurve
from genrev.words import counted

if TYPE_CHECKING:
    from optuna.trial import Trial

METRICS = ("frechet",)
_SHORTEST = 9  # of so many parts of a trial, the first one decides first
_HOPELESS = 10  # failures in a row


@dataclass(frozen=True)
class Limits:
    """When a search ends: after so many minutes of this call, or trials in all."""

    minutes: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        if self.minutes is None and self.trials is None:
            raise GenrevError(
                "A search goes on until it is told to end; say when with --minutes or --trials."
            )
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise GenrevError(f"--minutes takes a number above 0 and got {self.minutes:g}.")
        if self.trials is not None and self.trials < 1:
            raise GenrevError(f"--trials takes a whole number of 1 or more and got {self.trials}.")


def search(
    recipe: str,
    out: str | Path,
    over: Over,
    minutes: float | None = None,
    trials: int | None = None,
    metric: str = "frechet",
    data: str | None = None,
    **changes: Any,
) -> Search:
    """Search for the options of a recipe that give the lowest Fréchet distance.

    A second call with the same settings goes on, and several processes may search in one folder.
    What was found is in its files ``trials.csv``, ``trials.png`` and ``best.yaml`` as well.

    Args:
        recipe: a shipped recipe, or the path of a YAML file.
        out: folder of the search; each trial is a run folder in ``trials`` there.
        over: what is searched: by dotted key ``"low..high"``, ``"log:low..high"``, ``"a,b,c"`` or a
            list of values.
        minutes: wall time of this call, above 0; the trial that is under way then is kept.
        trials: number of trials in all, 1 or more.
        metric: what is compared, ``frechet``.
        data: what ``--data`` takes; by default the recipe's own.
        changes: sections of the configuration that all trials share, ``trainer={"max_steps": 900,
            "frechet_features": "inception.pt"}``, or ``seed`` and ``batch_size``.

    Returns:
        All trials so far, the best first.

    Raises:
        GenrevError: keys, values, data or a folder that cannot be used, no end, ten trials in a
            row that failed, or Optuna is not installed.
    """
    name, values = read_recipe(recipe)
    if data is not None:
        changes = merge(changes, {"data": data})
    values = merge(values, changes)
    return search_values(name, values, f"recipe {name}", out, over, Limits(minutes, trials), metric)


def search_values(
    name: str,
    values: dict[str, Any],
    source: str,
    out: str | Path,
    over: Over,
    limits: Limits,
    metric: str = "frechet",
) -> Search:
    """As ``search``, from nested values of a recipe ``name``; messages say ``source``."""
    if metric not in METRICS:
        raise GenrevError(f"--metric takes {' or '.join(METRICS)} and got {metric!r}.")
    asked = _Recipe(name, values, source)
    space = read_space(over, asked.config({}))
    require_right(space, asked.config)
    config = asked.config({})
    if config.trainer.processes > 1:
        raise GenrevError(
            "A trial of a search trains in one process; leave --trainer.devices and "
            "--trainer.nodes at 1, and start the search several times with one --out."
        )
    require("search")  # before anything is written
    folder, every = expand(out), config.trainer.frechet_every
    assert every is not None
    plan = {"recipe": name, "metric": metric, "over": dict(over), "values": values}
    claim(folder, json.loads(json.dumps(plan, default=str)))
    study = Study(folder, space, every, config.seed)
    return _Searching(study, limits, metric, asked).run(_own(space, config))


@dataclass(frozen=True)
class _Recipe:
    """What all trials share: nested values of a recipe, and where they come from."""

    name: str
    values: dict[str, Any]
    source: str

    def with_options(self, options: Mapping[str, str]) -> dict[str, Any]:
        """The values with those of a trial."""
        changes: dict[str, Any] = {}
        for key, text in options.items():
            set_key(changes, key, text)
        return merge(self.values, changes)

    def config(self, options: Mapping[str, str]) -> RunConfig:
        """The configuration of a trial; it is measured, and has no bar, unless the recipe has."""
        source = f"{self.source} with --over" if options else self.source
        values = {**self.with_options(options), "recipe": self.name}
        every = max(1, parse_config(values, source).trainer.max_steps // _SHORTEST)
        usual = {"trainer": {"frechet_every": every, "progress": False}}
        return parse_config(merge(usual, values), source)


def _own(space: list[Parameter], config: RunConfig) -> dict[str, Any]:
    """The recipe's own values as Optuna keeps them; empty where one is not searched."""
    plain, own = config.plain(), {}
    for parameter in space:
        section, _, option = parameter.key.partition(".")
        value = plain[section]
        if isinstance(value, dict):
            value = value.get(option or ("name" if section == "method" else "kind"))
        own[parameter.key] = parameter.kept(value)
    return {} if None in own.values() else own


@dataclass
class _Searching:
    """One process that works on a search."""

    study: Study
    limits: Limits
    metric: str
    recipe: _Recipe

    def run(self, own: dict[str, Any]) -> Search:
        """Do one trial after the other, until time, trials or suggestions are used up."""
        minutes = self.limits.minutes
        end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        failures, finished = 0, True
        try:
            while finished and time.monotonic() < end:
                with self.study.work(own, self.limits.trials) as trial:
                    if trial is None:
                        break
                    finished, error = self._trial(trial, end)
                    failures = failures + 1 if error else 0
                    if failures == _HOPELESS:
                        raise GenrevError(f"{_HOPELESS} trials in a row failed, the last: {error}")
                self._write()
        except KeyboardInterrupt:
            finished = False
        return self._write(finished)

    def _trial(self, trial: "Trial", end: float) -> tuple[bool, str]:
        """Train; whether to go on with the next one, and why it failed if it did."""
        options, run = self.study.options(trial), RunFolder(self.study.run(trial))
        watch, began = _Watch(trial, self.metric, end), time.monotonic()
        state: str | None = DONE
        value, error = None, ""
        try:
            config = self.recipe.config(options)
            if not run.finished:
                go_on = training.resume if run.path.exists() else training.train
                with contextlib.redirect_stdout(io.StringIO()):  # the search itself tells of it
                    ended = go_on(config, run.path, watch) is not None
                state, error = (DONE, "") if ended else (watch.state, watch.error)
            if state == DONE:
                value = watch.measure_finished(config, run)
        except (GenrevError, OutOfMemoryError) as failed:
            state, error = FAILED, " ".join(str(failed).split())
        finally:
            self.study.add_seconds(trial, time.monotonic() - began)
        if state is None:  # time is over, or a signal
            return watch.time_over, ""
        if value is not None and not math.isfinite(value):
            state, value, error = FAILED, None, f"{self.metric} of the trained model is {value}."
        self.study.end(trial, state, value, error)
        self._tell(next(row for row in self.study.rows() if row.number == trial.number))
        return True, error

    def _tell(self, row: Row) -> None:
        value = "" if row.value is None else f", {self.metric} {row.value:.4g}"
        options = " ".join(f"{key}={text}" for key, text in row.options.items())
        why = f" ({row.error})" if row.error else ""
        steps = counted(row.steps, "step")
        told = f"trial {row.number:03d} {row.state} after {steps}{value}: {options}{why}"
        print(told, file=sys.stderr)

    def _write(self, finished: bool = True) -> Search:
        found = Search(self.study.folder, self.metric, self.study.rows(), finished)
        best = found.best
        write_results(found, self.recipe.with_options(best.options) if best else {})
        return found


class _Watch:
    """Told by a training what was measured, ends it when the others are better or time is over."""

    def __init__(self, trial: "Trial", metric: str, end: float) -> None:
        self.trial, self.metric, self.end = trial, metric, end
        self.curve = dict(trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values)
        self.time_over = False
        self.state: str | None = None  # how the trial ends before its last step
        self.error = ""

    def __call__(self, step: int, measured: Mapping[str, float]) -> str | None:
        value = measured.get(self.metric)
        if value is not None and not math.isfinite(value):
            self.state, self.error = FAILED, f"{self.metric} is {value} at step {step}."
            return "a measurement that is not finite"
        if value is not None and step not in self.curve:
            self.curve[step] = value
            self.trial.report(value, step)
            if self.trial.should_prune():
                self.state = STOPPED
                return "successive halving"
        if time.monotonic() > self.end:
            self.time_over = True
            return "the end of --minutes"
        return None

    def measure_finished(self, config: RunConfig, run: RunFolder) -> float:
        """The metric of the trained model, whose weights or prior may not be those of the end."""
        last = self.curve.get(model_info(run.path).get("steps", 0))
        same = config.optimizer.ema is None and not PRIORS[config.prior.name].fitted
        if same and last is not None:
            return last
        images = open_stream(config.data) if config.data.streaming else load_images(config.data)
        data = sample_stream(images) if isinstance(images, ImageStream) else images
        model, curve = load(run.path), FrechetCurve(config.trainer, run)
        curve.prepare(data, next(model.parameters()).device, first=True)
        return curve.distance(model)
