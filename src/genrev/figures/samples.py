"""Samples from the prior, one row per class where it has classes (Figure 11 of the paper)."""

import math

import torch
from PIL import Image

from genrev.errors import GenrevError
from genrev.figures.grid import image_grid
from genrev.models.checks import check_label
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["sample_sheet"]


def sample_sheet(
    model: GenerativeAutoencoder, n: int, label: int | None = None, seed: int = 0
) -> Image.Image:
    """Draw ``n`` samples.

    The samples are those of ``model.sample(n, label, generator)`` with a CPU generator seeded by
    ``seed``. That method cycles through the K classes, so sample i stands
    in row i mod K, column i // K.

    Args:
        model: where the samples come from.
        n: number of samples, at least 1. The last column is incomplete if K does not divide it.
        label: draw this class only, in a grid close to a square.
        seed: seed of the generator.

    Raises:
        GenrevError: less than one sample, or a class that the model does not know.
    """
    if n < 1:
        raise GenrevError(f"A sheet of {n} samples cannot be drawn: ask for at least 1.")
    label = check_label(model, label)
    with inference(model):
        generator = torch.Generator().manual_seed(seed)
        images = model.sample(n, label, generator)
    classes = model.prior.num_classes
    if label is not None or classes == 1:
        return image_grid(images, title=None if label is None else f"class {label}")
    rows, columns = min(classes, n), math.ceil(n / classes)
    blank = images.new_ones(rows * columns - n, *images.shape[1:])  # white as the ground
    by_class = torch.cat((images, blank)).unflatten(0, (columns, rows)).transpose(0, 1)
    return image_grid(by_class.flatten(0, 1), columns, row_labels=[str(c) for c in range(rows)])
