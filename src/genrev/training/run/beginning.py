"""What a run began with, kept in its checkpoints: to go on with anything else is another run."""

import json
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from genrev.data import ImageData, ImageStream
from genrev.errors import GenrevError
from genrev.files.paths import quoted
from genrev.options import Options
from genrev.training.config import RunConfig

Beginning = dict[str, Any]  # in values that JSON can hold

# What decides about speed, place and reports, and not about what is learned.
_FREE = {
    *("recipe", "method.reconstruction_run", "data.cache", "data.workers"),
    *("engine.memory", "engine.compile", "engine.drift_every", "engine.drift_threshold"),
    *("engine.on_drift", "trainer.accelerator", "trainer.devices", "trainer.nodes"),
    *("trainer.threads", "trainer.max_minutes", "trainer.progress", "trainer.keep_best"),
    *("trainer.log_every", "trainer.sample_every", "trainer.checkpoint_every"),
    *("trainer.frechet_every", "trainer.frechet_samples", "trainer.frechet_features"),
}
# As far as these matter, they are in the fingerprint of the data.
_OF_DATA = {
    *("data.source", "data.crop", "data.image_size", "data.channels", "data.limit"),
    *("data.on_error", "data.label"),
}
_LENGTH = "trainer.max_steps"
# Of a checkpoint: Lightning's, and those of TrainingModule.
_PARTS = {"state_dict", "optimizer_states", "pytorch-lightning_version", "reported", "method"}
_SHOWN = 4  # changes in a message


def describe(config: RunConfig, data: ImageData | ImageStream, test: ImageData | None) -> Beginning:
    """What a run begins with: configuration, training images, and test images if it uses any."""
    described = {"train": data} if test is None else {"train": data, "test": test}
    told = {
        split: {
            "name": images.name,
            "images": len(images),
            "classes": list(images.class_names),
            "fingerprint": images.fingerprint,
        }
        for split, images in described.items()
    }
    return {"config": config.plain(), "data": told}


def read(checkpoint: Path, run: Path) -> Beginning:
    """What a checkpoint tells of the beginning of its run, if it is one and safe to read."""
    wrong = cause = None
    try:
        loaded = torch.load(checkpoint, "cpu", weights_only=True, mmap=True)
        if not isinstance(loaded, dict) or not loaded.keys() >= _PARTS:
            wrong = "is not a checkpoint of this genrev"
    except UnpicklingError as error:
        wrong, cause = "holds more than numbers and was not read", error
    if wrong is not None:
        raise GenrevError(
            f"{checkpoint} {wrong}; delete it, and `genrev resume {quoted(run)}` goes on from the "
            "one before."
        ) from cause
    told = loaded.get("genrev", {})
    whole = isinstance(told, dict) and all(isinstance(part, dict) for part in told.values())
    return told if whole else {}


def require_same_config(
    began: Beginning,
    config: RunConfig,
    run: Path,
    first: int = 0,
    step: int = 0,
    finished: bool = False,  # a run that keeps its end
) -> None:
    """Refuse options that make another run of one with ``step`` steps done, from ``first`` on."""
    free = _FREE | _OF_DATA | (set() if finished else {_LENGTH})
    changed = [line for key, line in _changes(began, config) if key not in free]
    if changed:
        raise _other(run, changed)
    if config.trainer.max_steps < first + step:
        raise GenrevError(
            f"{run} has done {step:,} steps and is to end after "
            f"{config.trainer.max_steps - first:,}; set {_LENGTH} in {run / 'config.yaml'} to "
            f"{first + step} or more."
        )


def require_same_data(began: Beginning, now: Beginning, config: RunConfig, run: Path) -> None:
    """Raise ``GenrevError`` where a run is to go on with other data than it began with."""
    for split, old in began.get("data", {}).items():
        new = now["data"].get(split)
        if not new or not isinstance(old, dict):
            continue
        images, classes = old.get("images"), old.get("classes")
        if classes != new["classes"]:
            differs = f"the classes were {_names(classes)} and are {_names(new['classes'])}"
        elif old.get("fingerprint") == new["fingerprint"]:
            continue
        elif images != new["images"]:
            differs = f"the {split} images were {_shown(images)} and are {new['images']}"
        else:
            differs = f"the {split} images or their labels are others"
        options = [line for key, line in _changes(began, config) if key in _OF_DATA]
        raise _other(run, [differs, *options])


def _names(classes: object) -> str:
    names = [str(name)[:40] for name in classes] if isinstance(classes, list) else ["?"]
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return "".join(c for c in shown if c.isprintable())


def _other(run: Path, changed: list[str]) -> GenrevError:
    more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return GenrevError(
        f"{run} cannot go on as another run than it began: {'; '.join(changed[:_SHOWN])}{more}; "
        "put that back, or train a new run (what may change is the device, threads, reports, "
        f"engine.memory, the places of data and cache, and {_LENGTH} to no less than was done)."
    )


def _changes(began: Beginning, config: RunConfig) -> Iterator[tuple[str, str]]:
    """Dotted keys of what changed, each with the words for it."""
    if "config" not in began:
        return
    old, new = began["config"], config.plain()
    for section, key in (("method", "name"), ("network", "kind"), ("prior", "kind")):
        before, after = old.get(section), new[section]
        if not isinstance(before, dict) or before.get(key) != after[key]:
            named = before.get(key) if isinstance(before, dict) else before
            yield section, f"{section} was {_shown(named)} and is {after[key]}"
            return
    for key, before, after in _differences(filled_in(old, config), new):
        yield key, f"{key} was {_shown(before)} and is {_shown(after)}"


def filled_in(values: dict[str, Any], config: RunConfig) -> dict[str, Any]:
    """Nested values of an older run: an option that is newer than the run had its default."""
    filled = {**_defaults(config), **values}
    for section, options in config.sections():
        if isinstance(filled.get(section), dict):
            filled[section] = {**_defaults(options), **filled[section]}
    return filled


def _defaults(options: Options) -> dict[str, Any]:
    return {
        name: json.loads(json.dumps(field.get_default(call_default_factory=True)))
        for name, field in type(options).model_fields.items()
        if not field.is_required() and not isinstance(field.default, Options)
    }


def _differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in new:
            if name in old:
                yield from _differences(old[name], new[name], f"{key}.{name}" if key else name)
    elif old != new:
        yield key, old, new


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
