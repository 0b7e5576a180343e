"""Arguments that several commands share, and what they stand for."""

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

from genrev.cli.device import chosen_device
from genrev.cli.terminal import add_path, name_or_path
from genrev.data import ImageData
from genrev.data.sources import spellings
from genrev.errors import GenrevError
from genrev.files.locking import locked
from genrev.models import GenerativeModel, load, shipped_models
from genrev.models.checks import require_images
from genrev.recipes import run_data
from genrev.seeding import LARGEST_SEED


def add_run(parser: argparse.ArgumentParser) -> None:
    """The positional argument RUN."""
    shipped = ", ".join(shipped_models())
    what = f"run folder, model folder, hub id owner/name, or a shipped model: {shipped}"
    add_path(parser, "run", "RUN", what, type=name_or_path)


def add_data(parser: argparse.ArgumentParser) -> None:
    """The option --data."""
    what = f"{spellings()}; by default the run's own data"
    add_path(parser, "--data", "NAME", what, type=name_or_path)


def add_n(parser: argparse.ArgumentParser, what: str, default: int) -> None:
    """The option -n."""
    parser.add_argument("-n", "--n", type=int, default=default, help=f"{what} (default: {default})")


def add_seed(parser: argparse.ArgumentParser, what: str = "seed of the samples") -> None:
    """The option --seed."""
    parser.add_argument("--seed", type=_seed, default=0, help=f"{what} (default: 0)")


def _seed(text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"invalid int value: {text!r}") from error
    if not 0 <= number <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 2^32 - 1 and is {number}")
    return number


def load_model(options: argparse.Namespace) -> GenerativeModel:
    """The model RUN, one of images, in float32, on the device of --device."""
    model = load(options.run, chosen_device(options)).float()
    require_images(model.image_shape, f"genrev {options.command} takes")
    return model


def require_positive(option: str, number: int) -> None:
    """Check that a number that was asked for is 1 or more."""
    if number < 1:
        raise GenrevError(f"{option} must be 1 or more and is {number}.")


def images_of_run(
    model: GenerativeModel, options: argparse.Namespace, split: str | None = None
) -> ImageData:
    """The images of --data, or of the run RUN, in the model's size and colours."""
    require_images(model.image_shape, f"genrev {options.command} takes")
    data = run_data(options.run, options.data, split, shape=model.image_shape)
    if data.image_shape == tuple(model.image_shape):
        return data
    raise GenrevError(
        f"The model makes images of shape {tuple(model.image_shape)} and those of {data.name} have "
        f"{data.image_shape}; name the data the model was trained on with --data."
    )


def locked_out(folder: Path) -> AbstractContextManager[None]:
    """Have the folder of --out to oneself."""
    cure = "name another folder with --out"
    return locked(folder, cure, cure)
