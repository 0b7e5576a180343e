"""Arguments that several commands share, and what they stand for."""

import argparse
from contextlib import AbstractContextManager
from pathlib import Path

from genrev.cli.device import chosen_device
from genrev.cli.parsers import given_data
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.files.locking import locked
from genrev.models import GenerativeModel, load
from genrev.models.checks import require_images
from genrev.recipes import run_data
from genrev.threads import free_memory


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
    data = run_data(options.run, given_data(options), split, shape=model.image_shape)
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


def require_memory(model: GenerativeModel, images: int, cure: str) -> None:
    """Check that so many images of a model fit into memory, before hours of drawing them.

    An allocation that is too large for what is free can succeed on Linux, which ends the process
    without a word later.
    """
    free = free_memory()
    needed = images * 4 * 4 * model.prior.dim  # latents and images, each twice on their way
    if free is not None and needed > free:
        raise GenrevError(
            f"{images:,} images of this model take about {needed / 2**30:,.0f} GiB of memory, and "
            f"{free / 2**30:,.0f} GiB are free; {cure}."
        )
