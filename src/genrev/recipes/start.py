"""From a recipe, and images of any kind, to a trained model: what ``genrev.train`` is."""

from pathlib import Path
from typing import Any

from genrev import training
from genrev.data.arrays import Given, splits_of
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, load
from genrev.recipes.parsing import load_recipe, merge
from genrev.recipes.runs import read_run_config
from genrev.training.start import image_shape_of


def train(
    recipe: str,
    out: str | Path | None = None,
    data: Given | str | Path | None = None,
    init: GenerativeModel | str | Path | None = None,
    device: str | None = None,
    **changes: Any,
) -> GenerativeModel | None:
    """Train by a recipe, as `genrev train` does, on images of any kind.

    Images that do not have the size and the channels that the network takes are brought to them by
    Lanczos filtering; a line on standard error says so.

    Args:
        recipe: a shipped recipe, or the path of a YAML file.
        out: the run folder; it must not exist yet, or be empty. ``None`` trains in a temporary
            folder, of which nothing is left.
        data: what ``--data`` takes, such as the path of a folder; or a tensor or array of images
            (uint8 or floats in [0, 1]; (N, C, H, W), (N, H, W, C) or (N, H, W)), a pair (images,
            labels), or a map-style data set of images or pairs (image, label), which is read once.
            Of these a tenth is held out as test images, unless ``{"train": ..., "test": ...}`` has
            some. By default the recipe's own data.
        init: a trained model to start from, or what ``genrev.load`` takes. Its network must be the
            run's; its prior is taken too if it is one of the run's kind, size and classes, and
            otherwise starts from the encodings of the images.
        device: auto, cpu, cuda or mps, short for ``trainer={"accelerator": device}``.
        changes: sections of the configuration, ``trainer={"max_steps": 300}``, or ``seed`` and
            ``batch_size``; or dotted keys as on the command line, ``**{"trainer.max_steps": 300}``.

    Returns:
        The trained model, on the device of the training, or ``None`` when a signal stopped it.

    Raises:
        GenrevError: values, data, a model to start from or a folder that cannot be used, or a loss
            that is not finite.
    """
    _require_names(recipe, out)
    if isinstance(init, str | Path):
        init = load(init)
    elif init is not None and not isinstance(init, GenerativeModel):
        raise GenrevError(
            f"A {type(init).__name__} is nothing to start from; give as init a model of genrev, or "
            "what genrev.load takes."
        )
    named = isinstance(data, str | Path)
    if named:
        changes = merge(changes, {"data": str(data)})
    if device is not None:
        changes["trainer.accelerator"] = device
    config, images = load_recipe(str(recipe), changes), None
    if data is not None and not named:
        images = splits_of(data, config.data, image_shape_of(config))
    return training.train(config, out, images=images, init=init)


def _require_names(recipe: object, out: object) -> None:
    """Raise ``GenrevError`` for images in the place of a recipe or a folder."""
    if not isinstance(recipe, str | Path):
        raise GenrevError(
            f"A {type(recipe).__name__} is no recipe; name one first, and give images as "
            "data=images."
        )
    if not (out is None or isinstance(out, str | Path)):
        raise GenrevError(
            f"A {type(out).__name__} is no run folder; give a path as out, and images as "
            "data=images."
        )


def resume(
    run: str | Path, max_steps: int | None = None, device: str | None = None
) -> GenerativeModel | None:
    """Go on with an interrupted run, or with a finished one for longer, as `genrev resume` does.

    Args:
        run: the run folder.
        max_steps: go on to this step; by default to the one that was planned.
        device: where to go on, auto, cpu, cuda or mps; by default where the run began.

    Returns:
        The trained model, on the device of the training, or ``None`` when a signal stopped it.

    Raises:
        GenrevError: no run folder, one that is complete or somebody else's at the moment, or data
            that are others than when it began.
    """
    config = read_run_config(Path(run))
    changes = {"max_steps": max_steps, "accelerator": device}
    changes = {name: value for name, value in changes.items() if value is not None}
    trainer = config.trainer.replace(**changes)
    return training.resume(config.replace(trainer=trainer), run)
