"""Walks along single latent dimensions (Figure 9) and over planes of two (Figure 12).

All other dimensions stay at the mean of a class, or at the clamped encoding of an image. Steps
are measured in standard deviations of the prior.
"""

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from genrev.errors import GenrevError
from genrev.figures.checks import check_label, images_for
from genrev.figures.grid import image_grid, tile_pictures
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = [
    "largest_dims",
    "plane",
    "traversal_plane",
    "traversal_planes",
    "traversal_rows",
    "traversals",
]

_ROWS = 8  # dimensions shown by default
_PLANES_ACROSS = 5  # planes in a row, as in Figure 12 with its ten digits
_PLANES_WIDTH = 1400  # pixels a picture of all planes is enlarged to at most
_SIDE = 96  # pixels an image in it is enlarged to at most


def largest_dims(model: GenerativeAutoencoder, count: int, label: int | None = None) -> list[int]:
    """The (at most) ``count`` active dimensions with the largest scale of the prior, largest first.

    Dimensions of equal scale stay in the order of ``prior.active_dims``.
    """
    active = model.prior.active_dims
    scale = model.prior.scale(check_label(model, label)).detach()[active]
    order = torch.sort(scale, descending=True, stable=True).indices
    return [int(dim) for dim in active[order[:count]]]


def traversals(
    model: GenerativeAutoencoder,
    dims: Sequence[int] | None = None,
    label: int | None = None,
    steps: int = 9,
    extent: float = 3.0,
    x: Tensor | None = None,
) -> Tensor:
    """Move one latent dimension at a time from -extent to +extent standard deviations.

    Args:
        model: encoder, decoder and prior.
        dims: latent dimensions; by default the 8 with the largest prior scale.
        label: class whose mean and scale are used; by default those of the whole prior.
        steps: images along a dimension, at least 2; an odd number contains the centre itself.
        extent: how far to go to either side, in standard deviations of the prior.
        x: one image (1, C, H, W) whose clamped encoding is the centre instead of the mean.

    Returns:
        Images (dims, steps, C, H, W), not clipped.

    Raises:
        ValueError: less than two steps, or ``x`` is not one image of the model's shape.
        GenrevError: a class or a latent dimension that does not exist.
    """
    label = check_label(model, label)
    dims = largest_dims(model, _ROWS, label) if dims is None else list(dims)
    _check_dims(model, dims)
    with inference(model):
        center, scale = _center(model, label, x), model.prior.scale(label)
        offsets = _offsets(steps, extent).to(scale)
        z = center.repeat(len(dims), steps, 1)  # (dims, steps, D)
        for row, dim in enumerate(dims):
            z[row, :, dim] += offsets * scale[dim]
        return model.decode(z.flatten(0, 1)).unflatten(0, (len(dims), steps))


def traversal_rows(
    model: GenerativeAutoencoder,
    dims: Sequence[int] | None = None,
    label: int | None = None,
    steps: int = 9,
    extent: float = 3.0,
    x: Tensor | None = None,
) -> Image.Image:
    """One row per latent dimension, from -extent to +extent standard deviations.

    Arguments and exceptions are those of :func:`traversals`.
    """
    label = check_label(model, label)
    dims = largest_dims(model, _ROWS, label) if dims is None else list(dims)
    images = traversals(model, dims, label, steps, extent, x)
    center = "the mean" if x is None else "an encoded image"
    of_class = "" if label is None else f" of class {label}"
    return image_grid(
        images.flatten(0, 1),
        steps,
        row_labels=[f"dim {dim}" for dim in dims],
        column_labels=_offset_labels(steps, extent),
        title=f"Standard deviations{of_class} from {center}",
    )


def plane(
    model: GenerativeAutoencoder,
    label: int | None = None,
    steps: int = 8,
    extent: float = 2.0,
    dims: Sequence[int] | None = None,
) -> Tensor:
    """Decode a square of the plane that two latent dimensions span around a mean.

    Args:
        model: decoder and prior.
        label: class whose mean and scale are used; by default those of the whole prior.
        steps: images along a side, at least 2; the authors' figure has 8.
        extent: half the side, in standard deviations of the prior.
        dims: the dimension that grows to the right and the one that grows downwards; by
            default the two with the largest prior scale.

    Returns:
        Images (steps, steps, C, H, W), not clipped.

    Raises:
        ValueError: less than two steps.
        GenrevError: a class or a dimension that does not exist, or not two dimensions.
    """
    label = check_label(model, label)
    across, down = _two_dims(model, label, dims)
    with inference(model):
        center, scale = _center(model, label, None), model.prior.scale(label)
        offsets = _offsets(steps, extent).to(scale)
        z = center.repeat(steps, steps, 1)  # (down, across, D)
        z[:, :, across] += offsets * scale[across]
        z[:, :, down] += (offsets * scale[down]).unsqueeze(1)
        return model.decode(z.flatten(0, 1)).unflatten(0, (steps, steps))


def traversal_plane(
    model: GenerativeAutoencoder,
    label: int | None = None,
    steps: int = 8,
    extent: float = 2.0,
    dims: Sequence[int] | None = None,
) -> Image.Image:
    """A square of the latent plane around a mean, with the offsets at its sides.

    Arguments and exceptions are those of :func:`plane`.
    """
    label = check_label(model, label)
    across, down = _two_dims(model, label, dims)
    images = plane(model, label, steps, extent, (across, down))
    offsets = _offset_labels(steps, extent)
    of_class = "" if label is None else f" of class {label}"
    return image_grid(
        images.flatten(0, 1),
        steps,
        padding=3,
        row_labels=offsets,
        column_labels=offsets,
        title=f"Standard deviations{of_class}\ndim {across} across, dim {down} down",
    )


def traversal_planes(model: GenerativeAutoencoder) -> Image.Image:
    """The planes of all classes in one picture, each titled with its class (Figure 12).

    Raises:
        GenrevError: the prior has less than two active dimensions.
    """
    classes = model.prior.num_classes
    rows = math.ceil(classes / max(_PLANES_ACROSS, math.ceil(math.sqrt(classes))))
    across = math.ceil(classes / rows)
    pictures = []
    for label in range(classes):
        images = plane(model, label)
        side = max(images.shape[-2:])
        scale = max(1, min(_PLANES_WIDTH // (across * len(images) * side), _SIDE // side))
        title = str(label) if classes > 1 else None
        pictures.append(image_grid(images.flatten(0, 1), len(images), 3, scale, title=title))
    return tile_pictures(pictures, across)


def _two_dims(
    model: GenerativeAutoencoder, label: int | None, dims: Sequence[int] | None
) -> tuple[int, int]:
    dims = largest_dims(model, 2, label) if dims is None else dims
    if len(set(dims)) != 2 or len(dims) != 2:
        raise GenrevError(
            f"A plane needs two different latent dimensions and got {list(dims)}; "
            "name two, or use a model with at least two active dimensions."
        )
    _check_dims(model, dims)
    return dims[0], dims[1]


def _check_dims(model: GenerativeAutoencoder, dims: Sequence[int]) -> None:
    size = model.prior.dim
    if not dims:
        raise GenrevError("No latent dimension to traverse: name at least one.")
    for dim in dims:
        if not 0 <= dim < size:
            raise GenrevError(
                f"There is no latent dimension {dim}: this model has dimensions 0 to {size - 1}."
            )


def _center(model: GenerativeAutoencoder, label: int | None, x: Tensor | None) -> Tensor:
    """Where a walk starts, shape (D,)."""
    if x is None:
        return model.prior.center(label)
    x = images_for(model, x, "x")
    if len(x) != 1:
        raise ValueError(f"a traversal starts from one image; got {len(x)}.")
    return model.prior.clamp(model.encode(x))[0]


def _offsets(steps: int, extent: float) -> Tensor:
    """Steps from -extent to extent; of an odd number the middle one is exactly 0."""
    if steps < 2:
        raise ValueError(f"a traversal needs at least 2 steps; got {steps}.")
    return extent * (torch.arange(steps) * 2 - (steps - 1)) / (steps - 1)


def _offset_labels(steps: int, extent: float) -> list[str]:
    offsets = _offsets(steps, extent).tolist()
    digits = 2 if any(abs(t * 10 - round(t * 10)) > 1e-4 for t in offsets) else 1
    return [f"{t:+.{digits}f}" if t else "0" for t in offsets]
