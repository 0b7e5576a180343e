"""Arguments that several commands share, and how they are read."""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

from genrev.cli.terminal import name_or_path
from genrev.data import DataConfig, ImageData, read_image
from genrev.data.decode import find_images
from genrev.data.images import skipped_files
from genrev.data.sources import spellings
from genrev.errors import GenrevError
from genrev.files.paths import list_files
from genrev.models import GenerativeModel, checks, shipped_models
from genrev.recipes import run_data


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


def add_label(parser: argparse.ArgumentParser) -> None:
    """The option --label."""
    parser.add_argument(
        "--label", metavar="CLASS", help="class by name or number; by default all classes"
    )


def add_dims(parser: argparse.ArgumentParser, what: str) -> None:
    """The options --dims and --widest, see ``genrev.figures.choose_dims``."""
    parser.add_argument("--dims", type=int, nargs="+", metavar="DIM", help=what)
    parser.add_argument(
        "--widest",
        action="store_true",
        help="of a model without classes: the eight dimensions that are widest, in place of five "
        "at random",
    )


def check_dims(options: argparse.Namespace) -> None:
    """Check that --dims and --widest do not contradict each other."""
    if options.dims is not None and options.widest:
        raise GenrevError("--dims and --widest both choose dimensions; leave one of them out.")


def add_reference(parser: argparse.ArgumentParser) -> None:
    """The options that say what samples are compared with, and in which features."""
    parser.add_argument(
        "--features",
        type=name_or_path,
        metavar="FILE",
        help="TorchScript module from uint8 (N, C, H, W) to (N, D), or `fid` for the 2,048 "
        "features of FID (extra `fid`); by default a classifier that genrev trains on the labels "
        "of the data",
    )
    parser.add_argument(
        "--split",
        help="reference images: a split, or `all` for the entire data set, of which the paper "
        "reports the inversion error (default: test, or train where there is none)",
    )
    parser.add_argument(
        "--references",
        type=int,
        metavar="N",
        help="use N reference images, spread evenly over the split (default: all)",
    )


def chosen_images(model: GenerativeModel, options: argparse.Namespace, n: int) -> Tensor:
    """The images that the options of ``add_images`` name; n of them where it is --data."""
    # Not at the top: most commands draw nothing, and matplotlib takes its time.
    from genrev.figures import classes_in_turn

    if options.images is not None:
        return read_images(model, options.images)
    data = require_shape(model, run_data(options.run, options.data))
    return data.tensor(classes_in_turn(data, n))


def check_label(model: GenerativeModel, label: str | None) -> int | None:
    """Number of the class of that name or number."""
    if label is not None and model.prior.num_classes == 1:
        raise GenrevError(
            "--label chooses a class, and this model has none, since it was trained without "
            "labels; leave --label out."
        )
    return checks.check_label(model, label)


def require_shape(model: GenerativeModel, data: ImageData) -> ImageData:
    """The data, if its images are of the model's size and colours."""
    if data.image_shape == tuple(model.image_shape):
        return data
    raise GenrevError(
        f"The model makes images of shape {tuple(model.image_shape)} and those of {data.name} have "
        f"{data.image_shape}; name the data the model was trained on with --data."
    )


def read_images(model: GenerativeModel, paths: list[str]) -> Tensor:
    """Image files, and all of folders, as the model takes them: (n, C, H, W) in [0, 1]."""
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
