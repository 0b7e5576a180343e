"""What a model makes of noise and of images, in rows: the paper's Figures 5 to 8 and 11.

A RevNet loses nothing, so the full reconstruction is a check of numerics. The restricted one shows
what the active dimensions alone know about an image.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from genrev.errors import GenrevError
from genrev.figures.figure import FigureRun, Picture, class_name, classes_in_turn
from genrev.figures.grid import image_grid, tile_pictures
from genrev.models.checks import check_label, images_for, num_classes_of
from genrev.models.conditions import contexts_for
from genrev.models.devices import all_at_once, float64_device
from genrev.models.inference import GenerativeAutoencoder, device_of, inference
from genrev.models.walks import interpolate

if TYPE_CHECKING:
    from genrev.data import ImageData  # it takes time to import

_COLUMNS = 16  # more images than this go into further bands of three rows
_LARGE = 48  # pixels; wider images than this need half as many columns to be seen well
_NEIGHBOURS = 20  # samples shown with their nearest training image
_COMPARED = 10  # samples of every model in the picture of a comparison


def draw_samples(run: FigureRun) -> Mapping[str, Picture]:
    """Samples, ten of every class (Figures 5 and 11)."""
    classes = num_classes_of(run.model)
    n = 10 * classes if classes > 1 else 100
    return {"samples.png": sample_sheet(run.model, n, seed=run.seed)}


def draw_reconstructions(run: FigureRun) -> Mapping[str, Picture]:
    """Images above their restricted and full reconstructions (Figure 6)."""
    return {"reconstructions.png": reconstruction_rows(run.model, run.images[:16])}


def draw_interpolations(run: FigureRun) -> Mapping[str, Picture]:
    """Walks between pairs of images, in the restricted and the full space (Figures 7 and 8)."""
    x = run.images[: 2 * (min(len(run.images), 10) // 2)]
    spaces = {"restricted": True, "full": False} if len(x) else {}
    draw = partial(interpolation_rows, run.model, x[::2], x[1::2])
    return {f"interpolations_{space}.png": draw(restricted=r) for space, r in spaces.items()}


def draw_neighbours(run: FigureRun) -> Mapping[str, Picture]:
    """Samples above their nearest training images, where these are at hand."""
    # Not at the top: the explorer draws pictures, too, and need not wait for SciPy.
    from genrev.evaluation import nearest_images, samples_as_stored

    if run.train is None:
        return {}
    samples, _ = samples_as_stored(run.model, _NEIGHBOURS, run.seed)
    device = float64_device(device_of(run.model))
    _, indices = nearest_images(samples.to(device), run.train)
    return {"neighbours.png": neighbour_rows(samples.float() / 255, run.train.tensor(indices))}


def sample_sheet(
    model: GenerativeAutoencoder, n: int, label: int | None = None, seed: int = 0
) -> Image.Image:
    """Draw ``model.sample(n, label, generator)``, of K classes one per row.

    The last column is incomplete if K does not divide ``n``. A class alone, that of ``label``, is a
    grid close to a square. ``seed`` is that of the generator, on the CPU.

    Raises:
        GenrevError: less than one sample, or a class that the model does not know.
    """
    if n < 1:
        raise GenrevError(f"A sheet of {n} samples cannot be drawn: ask for at least 1.")
    label = check_label(model, label)
    with inference(model):
        images = model.sample(n, label, torch.Generator().manual_seed(seed))
    classes = num_classes_of(model)
    if label is not None or classes == 1:
        title = None if label is None else f"class {class_name(model, label)}"
        return image_grid(images, title=title)
    rows, columns = min(classes, n), math.ceil(n / classes)
    blank = images.new_ones(rows * columns - n, *images.shape[1:])  # white as the ground
    by_class = torch.cat((images, blank)).unflatten(0, (columns, rows)).transpose(0, 1)
    names = [class_name(model, label) for label in range(rows)]
    return image_grid(by_class.flatten(0, 1), columns, row_labels=names)


def reconstruction_rows(model: GenerativeAutoencoder, x: Tensor) -> Image.Image:
    """Three rows: the images, ``decode(prior.clamp(encode(x)))`` and ``decode(encode(x))``.

    Every 16 images (N, C, H, W), or 8 if wider than 48 pixels, start a new band of three rows. A
    class-conditional network gets the likely classes of the images.

    Raises:
        ValueError: no images, or not of the model's shape.
    """
    x = images_for(model, x, "x")
    with inference(model):
        given = contexts_for(model, x)
        z = all_at_once(model.encode, x, *given, desc="encodings")
        ways = model.prior.clamp(z), z
        restricted, full = (
            all_at_once(model.decode, way, *given, desc="reconstructions") for way in ways
        )
    active, dims = len(model.prior.active_dims), model.prior.dim
    labels = ["original", f"restricted\n{active} of {dims} dims", f"full\n{dims} dims"]
    columns = _COLUMNS if x.shape[3] <= _LARGE else _COLUMNS // 2
    bands = torch.stack((x, restricted, full)).split(columns, dim=1)  # (3, columns, C, H, W)
    pictures = [image_grid(b.flatten(0, 1), b.shape[1], row_labels=labels) for b in bands]
    return tile_pictures(pictures, columns=1)


def interpolation_rows(
    model: GenerativeAutoencoder, x_a: Tensor, x_b: Tensor, steps: int = 8, restricted: bool = True
) -> Image.Image:
    """One row per pair: the image ``x_a``, ``steps`` decoded images, the image ``x_b``.

    Arguments and exceptions are those of :func:`genrev.models.walks.interpolate`.
    """
    between = interpolate(model, x_a, x_b, steps, restricted)  # (N, steps, C, H, W)
    first, last = (x.to(between).unsqueeze(1) for x in (x_a, x_b))
    rows = torch.cat((first, between, last), dim=1)
    labels = ["from", *(f"{i / (steps - 1):.2f}" for i in range(steps)), "to"]
    return image_grid(rows.flatten(0, 1), steps + 2, column_labels=labels)


def neighbour_rows(samples: Tensor, neighbours: Tensor, columns: int = 10) -> Image.Image:
    """Rows of samples (N, C, H, W), each above a row of its nearest training images.

    What does not fill a row at the end is left out. See ``genrev.evaluation.nearest_images``.

    Raises:
        ValueError: tensors that do not fit together, or no images.
    """
    if samples.shape != neighbours.shape or len(samples) == 0:
        raise ValueError(
            "every sample needs one neighbour of its shape; got "
            f"{tuple(samples.shape)} and {tuple(neighbours.shape)}."
        )
    columns = min(columns, len(samples))
    rows = len(samples) // columns
    pairs = torch.stack([samples, neighbours])[:, : rows * columns]  # (2, rows * columns, C, H, W)
    pairs = pairs.unflatten(1, (rows, columns)).transpose(0, 1)  # (rows, 2, columns, ...)
    return image_grid(pairs.flatten(0, 2), columns, row_labels=["sample", "nearest"] * rows)


def comparison_rows(models: Mapping[str, GenerativeAutoencoder], data: "ImageData") -> Image.Image:
    """A row of real images, and one of samples from every model, by the names of the rows."""
    rows = [data.tensor(classes_in_turn(data, min(_COMPARED, len(data))))]
    for model in models.values():
        with inference(model):
            drawn = model.sample(len(rows[0]), generator=torch.Generator().manual_seed(0))
        rows.append(drawn.cpu())
    return image_grid(torch.cat(rows), len(rows[0]), row_labels=["real images", *models])
