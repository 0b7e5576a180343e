"""Table 1 of the paper at 64x64: five trainings of equal time, one after the other.

A recipe says how many steps it takes. Here each model gets as many as fit into the same time on
this machine: its step is timed first, and a reconstruction phase keeps its share of the steps, so
that every schedule comes to its end. What was planned is written down before the first training: a
second call goes on where the first one stopped.
"""

import json
import math
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch

from genrev import training
from genrev.data import ImageData, load_images
from genrev.errors import GenrevError
from genrev.evaluation import choose_features, comparison_markdown
from genrev.files.readers import read_json_object
from genrev.files.writing import write_text
from genrev.models.devices import choose_device, tf32
from genrev.recipes import load_recipe, read_run_config
from genrev.training import RunConfig, RunFolder, Step, build_method
from genrev.training.start import build_model
from genrev.training.steps.graphs import CudaRecorder

RECIPES = ("celeba", "celeba-paper", "celeba-vae", "celeba-wae-mmd", "celeba-wae-gan")
"""The recommended recipe, the paper's, and the three baselines."""
PLAN = "table1.json"
_USED = 0.9  # of the time goes into steps, the rest into checkpoints, sample sheets and the like
_LONGEST = 10.0  # seconds that a step of a phase is timed
_SHEETS, _CHECKPOINTS = 20, 10  # at least, in a run of ten minutes or more
_SHEETS_A_MINUTE, _CHECKPOINTS_A_MINUTE = 6, 1  # at most, in a shorter one: they take seconds
_LARGEST = 2**24  # bytes of a JSON file


@dataclass
class Plan:
    """What a table is made of, and how far it is; the file ``table1.json`` in its folder."""

    out: Path
    minutes: float
    """Of training, for each model."""
    data: str
    steps: dict[str, int] = field(default_factory=dict)
    """By recipe, once it was timed."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a training broke off, by recipe."""
    drawn: list[str] = field(default_factory=list)
    """Run folders whose figures have been drawn."""

    @classmethod
    def begin(cls, out: Path, minutes: float, data: str) -> "Plan":
        """A new one, or the one in the folder; ``GenrevError`` where that is of something else."""
        plan, path = cls(out, minutes, data), out / PLAN
        if path.is_file():
            try:
                plan = cls(out, **read_json_object(path, _LARGEST))
            except (OSError, ValueError, TypeError) as error:
                raise GenrevError(
                    f"{path} was not written by `genrev bench table1`, or was edited since; name "
                    "another folder with --out."
                ) from error
            if (plan.minutes, plan.data) != (minutes, data):
                raise GenrevError(
                    f"{out} was begun with --minutes {plan.minutes:g} --data {plan.data}; say so "
                    "again to go on, or name another folder with --out."
                )
        return plan

    def run(self, recipe: str) -> Path:
        """The run folder of a recipe."""
        return self.out / Path(recipe).stem

    def finished(self) -> list[Path]:
        """Run folders of the models that are there."""
        runs = [self.run(recipe) for recipe in RECIPES]
        return [run for run in runs if RunFolder(run).finished]

    def write(self) -> None:
        """Write the file, whole or not at all."""
        values = {name: value for name, value in vars(self).items() if name != "out"}
        write_text(self.out / PLAN, json.dumps(values, indent=2) + "\n")


def require_features(data: str, features: str | None) -> None:
    """Raise ``GenrevError`` where there is nothing to compute distances in, before hours go by.

    Args:
        data: what ``--data`` takes.
        features: a TorchScript file or ``fid``, or ``None`` for what suits the data.
    """
    images = load_images(_config(RECIPES[0], data).data)
    if choose_features(features, images) is None and images.num_classes < 2:
        raise GenrevError(
            f"The images of {data} have no labels, so models cannot be compared in the features of "
            "their classifier; name others with --features FILE, or install the extra genrev[fid]."
        )


def train_all(plan: Plan) -> list[Path]:
    """Train what has not been trained yet; returns the folders of all that is there.

    A training that breaks off, because its loss is not finite for example, is noted in
    ``plan.failed`` and tried again by the next call.

    Raises:
        GenrevError: a training was stopped by a signal, or no model is there in the end.
    """
    plan.out.mkdir(parents=True, exist_ok=True)
    plan.write()
    for recipe in RECIPES:
        run = plan.run(recipe)
        plan.failed.pop(recipe, None)
        if RunFolder(run).finished:
            continue
        print(f"training {recipe} for {plan.minutes:g} min into {run}")
        try:
            stopped = _train(plan, recipe) is None
        except GenrevError as error:
            plan.failed[recipe] = str(error)
            print(f"{recipe} broke off: {error}")
            stopped = False
        plan.write()
        if stopped:
            raise GenrevError(f"{run} was stopped; the same command again goes on with it.")
    if not plan.finished():
        raise GenrevError(f"No model could be trained; {next(iter(plan.failed.values()))}")
    return plan.finished()


def is_compared(folder: Path, runs: list[str], n: int) -> bool:
    """Whether a folder has the comparison of just these runs on so many samples."""
    found = _comparison(folder)
    return found.get("samples") == n and [row["run"] for row in found["models"]] == runs


def describe(plan: Plan, folder: Path) -> dict[str, Any]:
    """The result: what was trained for how long, and the comparison in a folder."""
    return {
        "benchmark": "table1",
        "minutes": plan.minutes,
        "data": plan.data,
        "steps": plan.steps,
        "failed": plan.failed,
        "runs": list(map(str, plan.finished())),
        "comparison": _comparison(folder),
        "written": str(folder),
    }


def format_result(result: dict[str, Any]) -> str:
    """The table as Markdown, and below it where everything lies."""
    comparison = result["comparison"]
    lines = [comparison_markdown(comparison, comparison["notes"])]
    lines += [f"- {recipe} broke off: {why}" for recipe, why in result["failed"].items()]
    lines += [
        f"{result['minutes']:g} minutes of training for each model; the table is in "
        f"{result['written']}, figures are in {', '.join(f'{r}/figures' for r in result['runs'])}."
    ]
    return "\n".join(lines)


def timed_steps(config: RunConfig, minutes: float, images: ImageData) -> int:
    """How many steps of a configuration fit into the minutes, here and now.

    Args:
        config: a run, whose phases keep their shares of the steps.
        minutes: of training.
        images: what it is trained on.
    """
    method, total = build_method(config), config.trainer.max_steps
    device = choose_device()
    network = method.network_options(config.network.options)
    model = build_model(config, network, images, device, measure=False)
    method.prepare(model, images, config.seed)
    graph = device.type == "cuda" and config.engine.graph
    recorder = CudaRecorder() if graph else None
    step = Step(model, method, config.optimizer, config.seed, total, images, recorder=recorder)
    step.to(device)
    low = config.engine.precision == "bf16"
    batch = torch.from_numpy(images.images[: config.batch_size].copy()).to(device).float() / 255
    batch = batch.repeat(-(-config.batch_size // len(batch)), 1, 1, 1)[: config.batch_size]
    longest = min(_LONGEST, 0.05 * 60 * minutes)
    starts = [phase.start for phase in step.phases]
    mean = 0.0
    for start, end in zip(starts, [*starts[1:], total], strict=True):
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=low)
        with tf32(config.engine.tf32 and not config.engine.exact), autocast:
            mean += (end - start) / total * _seconds(step, batch, start, longest)
    return max(2 * len(starts), int(_USED * 60 * minutes / mean))


def _comparison(folder: Path) -> dict[str, Any]:
    """What `genrev compare` wrote there; empty before."""
    try:
        return read_json_object(folder / "compare.json", _LARGEST)
    except (OSError, ValueError):
        return {}


def _train(plan: Plan, recipe: str) -> object | None:
    """Train by a recipe, or go on with it; ``None`` when a signal stopped that."""
    run = plan.run(recipe)
    if RunFolder(run).config.is_file():
        return training.resume(read_run_config(run), run)
    if recipe not in plan.steps:
        config = _config(recipe, plan.data)
        plan.steps[recipe] = timed_steps(config, plan.minutes, load_images(config.data))
        plan.write()
    return training.train(_config(recipe, plan.data, plan.minutes, plan.steps[recipe]), run)


def _config(
    recipe: str, data: str, minutes: float | None = None, steps: int | None = None
) -> RunConfig:
    """A recipe on these images, with another number of steps and all that depends on it."""
    own = load_recipe(recipe)
    channels, *sizes = own.network.options.image_shape  # type: ignore[attr-defined]
    changes: dict[str, Any] = {"data": {"source": data, "image_size": sizes, "channels": channels}}
    if steps is not None:
        trainer, method = own.trainer, dict(own.method.options)
        long = minutes or math.inf
        sheets = max(1, int(min(_SHEETS, _SHEETS_A_MINUTE * long)))
        checkpoints = max(1, int(min(_CHECKPOINTS, _CHECKPOINTS_A_MINUTE * long)))
        changes["trainer"] = {
            "max_steps": steps,
            "max_minutes": minutes,
            "sample_every": min(trainer.sample_every, max(1, steps // sheets)),
            "checkpoint_every": min(trainer.checkpoint_every, max(1, steps // checkpoints)),
        }
        if first := method.get("reconstruction_steps"):
            share = first / trainer.max_steps
            changes["method"] = {"reconstruction_steps": max(1, round(share * steps))}
    return load_recipe(recipe, changes)


def _seconds(step: Step, batch: torch.Tensor, start: int, longest: float) -> float:
    """Seconds of a step of the phase that begins with ``start``, adversaries' steps among them."""
    numbers = count(start)
    for _ in range(10 if batch.device.type == "cuda" else 2):  # to warm up, and to be recorded
        step(batch, number=next(numbers))
    begun, done = time.perf_counter(), 0
    while not done or time.perf_counter() - begun < longest:
        for _ in range(2):  # an adversary's and the model's
            done, losses = done + 1, step(batch, number=next(numbers))
        next(iter(losses.values())).item()  # waits until the work is done
    return (time.perf_counter() - begun) / done
