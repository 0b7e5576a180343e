"""A run named on the command line: its configuration, its model and the images it is shown."""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor

from genrev.cli.paths import name_or_path
from genrev.data import DataConfig, ImageData, announce, load_images, local_path, read_image
from genrev.data.decode import find_images
from genrev.data.images import skipped_files
from genrev.data.sources import spellings
from genrev.errors import GenrevError
from genrev.files.paths import list_files
from genrev.models import GenerativeModel, checks, shipped_models
from genrev.models.saving import CONFIG_FILE, model_folder, model_info
from genrev.recipes import parse_config, read_yaml
from genrev.training import RunConfig, RunFolder

__all__ = [
    "ENOUGH_FOR_RANKS",
    "add_data",
    "add_images",
    "add_label",
    "add_run",
    "check_label",
    "chosen_images",
    "images_for",
    "indices_for",
    "read_images",
    "read_run_config",
    "require_shape",
    "run_data",
    "run_split",
]

ENOUGH_FOR_RANKS = 1000
"""Images that tell which dimensions are widest; to draw their widths takes more."""

_DATA_KEYS = ("source", "crop", "image_size", "channels", "label")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The positional argument RUN."""
    parser.add_argument(
        "run",
        type=name_or_path,
        metavar="RUN",
        help="run folder, model folder, hub id owner/name, or a shipped model: "
        + ", ".join(shipped_models()),
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option --data."""
    parser.add_argument(
        "--data",
        type=name_or_path,
        metavar="NAME",
        help=f"{spellings()}; by default the run's own data",
    )


def add_images(parser: argparse.ArgumentParser, what: str) -> None:
    """The options --images and --data, one of which says what a command is shown."""
    parser.add_argument(
        "--images",
        type=name_or_path,
        nargs="+",
        metavar="FILE",
        help=f"{what}; by default images of --data",
    )
    add_data(parser)


def chosen_images(model: GenerativeModel, options: argparse.Namespace, n: int) -> Tensor:
    """The images that the options of ``add_images`` name; n of them where it is --data."""
    if options.images is not None:
        return read_images(model, options.images)
    return images_for(require_shape(model, run_data(options.run, options.data)), n)


def add_label(parser: argparse.ArgumentParser) -> None:
    """The option --label."""
    parser.add_argument(
        "--label", metavar="CLASS", help="class by name or number; by default all classes"
    )


def check_label(model: GenerativeModel, label: str | None) -> int | None:
    """Number of the class of that name or number.

    Raises:
        GenrevError: no such class, or a model without classes.
    """
    if label is not None and model.prior.num_classes == 1:
        raise GenrevError(
            "--label chooses a class, and this model has none, since it was trained without "
            "labels; leave --label out."
        )
    return checks.check_label(model, label)


def read_run_config(run: Path) -> RunConfig:
    """The resolved configuration of a run.

    Raises:
        GenrevError: no run there.
    """
    folder = RunFolder(run)
    if not folder.config.is_file():
        raise GenrevError(f"{run} is not a run folder: it has no {folder.config.name}.")
    return parse_config(read_yaml(folder.config), str(folder.config))


def run_data(
    run: str, data: str | None, split: str | None = None, announced: bool = False
) -> ImageData:
    """Images to show a run, or to measure it on; as ``run_split``, which also says which."""
    return run_split(run, data, split, announced)[0]


def run_split(
    run: str, data: str | None, split: str | None = None, announced: bool = False
) -> tuple[ImageData, str]:
    """Images of a run, and the split that they are; how they were understood is told on stderr.

    Args:
        run: as on the command line.
        data: what --data names, or ``None`` for the data the run was trained on.
        split: train, test, ..., all; ``None`` takes test, and train of data that has no other.
        announced: whether that was told before, of another split.
    """
    config = _data_config(run)
    if config is None and data is None:
        raise GenrevError(
            f"{run} does not tell what data it was trained on; name some with --data."
        )
    if data is not None:
        config = (config or DataConfig()).replace(source=data)
    assert config is not None
    images, split = _images(config, split)
    if not announced:
        announce(images)
    return images, split


def _images(config: DataConfig, split: str | None) -> tuple[ImageData, str]:
    if split is not None:
        return load_images(config, split), split
    try:
        return load_images(config, "test"), "test"
    except GenrevError as missing:
        try:
            images = load_images(config, "train")
        except GenrevError:
            raise missing from None
        warnings.warn(f"these are the training images: {missing}", stacklevel=3)
        return images, "train"


def require_shape(model: GenerativeModel, data: ImageData) -> ImageData:
    """The data, whose images are of the model's size and colours.

    Raises:
        GenrevError: they are not.
    """
    if data.image_shape == tuple(model.image_shape):
        return data
    raise GenrevError(
        f"the model makes images of shape {tuple(model.image_shape)} and those of {data.name} have "
        f"{data.image_shape}; name the data the model was trained on with --data."
    )


def indices_for(data: ImageData, n: int) -> list[int]:
    """Positions of the first n images, classes in turn, so that a few images show many classes."""
    seen = dict.fromkeys(range(data.num_classes), 0)
    turns = []
    for label in data.labels.tolist():
        turns.append(seen[label])  # this image is its class's first, second, ...
        seen[label] += 1
    return sorted(range(len(data)), key=lambda i: (turns[i], int(data.labels[i])))[:n]


def images_for(data: ImageData, n: int) -> Tensor:
    """The images of ``indices_for``, float (n, C, H, W) in [0, 1]."""
    return data.tensor(indices_for(data, n))


def read_images(model: GenerativeModel, paths: list[str]) -> Tensor:
    """Image files, and all images of folders, in the size and colours that the model takes.

    Returns:
        Float images (n, C, H, W) in [0, 1].

    Raises:
        GenrevError: a path that is not there, a file that is no image, a folder without images.
    """
    channels, size, _ = model.image_shape
    config = DataConfig(image_size=size).replace(channels=channels)
    pixels = [read_image(file, config) for path in paths for file in _files(Path(path))]
    return torch.stack(pixels)


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise GenrevError(f"There is no image or folder {path}; check --images.")
    if path.is_file():
        return [path]
    found, others = find_images(list_files(path))
    if not found:
        raise GenrevError(f"The folder {path} has no images in it; name another with --images.")
    if others:
        names = tuple(file.relative_to(path).as_posix() for file in others)
        print(f"{path}: {skipped_files(names)}", file=sys.stderr)
    return found


def _data_config(run: str) -> DataConfig | None:
    """What a run or a model was trained on, as far as its folder tells."""
    folder = model_folder(run)
    # A model folder inside a run folder is what `genrev fit-prior` makes.
    for place in (folder, folder.parent):
        if RunFolder(place).config.is_file():
            return read_run_config(place).data
    data = model_info(folder).get("data")
    if not isinstance(data, dict) or not isinstance(data.get("source"), str):
        return None
    if local_path(data["source"]) is not None:
        return None  # a model from elsewhere may name data sets, but not files of this machine
    try:
        values = {name: data.get(name) for name in _DATA_KEYS}
        # Data that was too large to be decoded before is too large now.
        values["streaming"] = data.get("streaming", False)
        return parse_config({"data": values}, str(folder / CONFIG_FILE)).data
    except GenrevError:  # values that are none
        return None
