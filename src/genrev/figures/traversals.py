"""Walks along single latent dimensions (Figures 9 and 12) and over planes of two, and which.

All other dimensions stay at the mean of a class, or at the clamped encoding of an image.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from genrev.figures.figure import FigureRun, Picture, class_name, classes_in_turn
from genrev.figures.grid import image_grid, tile_pictures
from genrev.models import walks
from genrev.models.checks import check_label, images_for, num_classes_of
from genrev.models.conditions import contexts_for
from genrev.models.devices import batch_size_on, in_batches
from genrev.models.inference import GenerativeAutoencoder, inference

if TYPE_CHECKING:
    from genrev.data import ImageData  # it takes time to import

_ENOUGH_FOR_RANKS = 1000  # images; to draw widths takes more than to order them
_BATCH = 500
_ROWS = 8  # dimensions shown by default
_PLANES_ACROSS = 5  # planes in a row, for ten digits
_CLASSES_ACROSS = 2  # panels in a row
_WIDTH = 1400  # pixels that a picture of all classes is enlarged to at most
_SIDE = 96  # pixels an image in it is enlarged to at most


def draw_traversals(run: FigureRun) -> Mapping[str, Picture]:
    """Walks along dimensions, of all classes where there are any (Figures 9 and 12)."""
    model, images = run.model, images_for_widths(run.data) if run.widest else None
    dims = choose_dims(model, run.dims, run.widest, images, run.seed)
    draw = class_traversals if num_classes_of(model) > 1 else traversal_rows
    return {"traversals.png": draw(model, dims)}


def draw_planes(run: FigureRun) -> Mapping[str, Picture]:
    """The plane of the two widest dimensions, of every class where there are any."""
    if len(run.model.prior.active_dims) < 2:
        return {}
    if num_classes_of(run.model) > 1:
        return {"planes.png": traversal_planes(run.model)}
    dims = widest_dims(run.model, images_for_widths(run.data))[:2]
    return {"planes.png": traversal_plane(run.model, dims=dims)}


def choose_dims(
    model: GenerativeAutoencoder,
    dims: Sequence[int] | None = None,
    widest: bool = False,
    images: Tensor | None = None,
    seed: int = 0,
) -> list[int] | None:
    """The dimensions to traverse: ``dims``, or of a model without classes five at random.

    ``widest`` takes the eight widest in place of these, by ``widest_dims`` of the images. None
    leaves the choice to the prior, which knows the widths of classes.
    """
    if dims is not None:
        return list(dims)
    if model.prior.num_classes > 1:
        return None
    if not widest:
        return walks.random_dims(model, seed=seed)
    return None if images is None else widest_dims(model, images)


def images_for_widths(data: "ImageData") -> Tensor:
    """As many images as ``widest_dims`` needs, float (n, C, H, W)."""
    return data.tensor(classes_in_turn(data, _ENOUGH_FOR_RANKS))


def widest_dims(model: GenerativeAutoencoder, x: Tensor, count: int = 8) -> list[int]:
    """The (at most) ``count`` active dimensions that are widest, widest first.

    A prior that learns its standard deviations tells them itself; where they are the same
    everywhere, the encodings of images (N, C, H, W) decide, if there are at least two.
    """
    x = images_for(model, x, "x")
    active = model.prior.active_dims
    scale = model.prior.scale()[active]
    if len(x) < 2 or bool((scale != scale[0]).any()):
        return walks.largest_dims(model, count)
    with inference(model) as device:
        size = batch_size_on(device, _BATCH)
        given = contexts_for(model, x)

        def encode(rows: Tensor) -> Tensor:
            return model.prior.restrict(model.encode(x[rows], *(c[rows] for c in given)))

        z = torch.cat([*in_batches(encode, torch.arange(len(x), device=device), size)])
    order = torch.sort(z.float().std(dim=0), descending=True, stable=True).indices
    return [int(dim) for dim in active[order[:count]]]


def traversal_rows(
    model: GenerativeAutoencoder,
    dims: Sequence[int] | None = None,
    label: int | None = None,
    steps: int = 9,
    extent: float = 3.0,
    x: Tensor | None = None,
) -> Image.Image:
    """One row per latent dimension, from -extent to +extent standard deviations.

    Arguments and exceptions are those of :func:`genrev.models.walks.traverse`.
    """
    label = check_label(model, label)
    dims = walks.largest_dims(model, _ROWS, label) if dims is None else list(dims)
    images = walks.traverse(model, dims, label, steps, extent, x)
    center = "the mean" if x is None else "an encoded image"
    whose = "" if label is None else f" of class {class_name(model, label)}"
    title = f"Standard deviations{whose} from {center}"
    rows, offsets = [f"dim {dim}" for dim in dims], _offset_labels(steps, extent)
    return image_grid(images.flatten(0, 1), steps, 4, None, rows, offsets, title)


def class_traversals(
    model: GenerativeAutoencoder,
    dims: Sequence[int] | None = None,
    steps: int = 9,
    extent: float = 2.0,
) -> Image.Image:
    """The same dimensions for every class, one panel a class and one row a dimension (Figure 12).

    By default they are the three that are widest on average over the classes; ``steps`` and
    ``extent`` are those of :func:`genrev.models.walks.traverse`.
    """
    dims = walks.shared_dims(model) if dims is None else list(dims)
    classes = num_classes_of(model)
    across = min(classes, _CLASSES_ACROSS)
    rows, offsets = [f"dim {dim}" for dim in dims], _offset_labels(steps, extent)
    panels = []
    for label in range(classes):
        images = walks.traverse(model, dims, label, steps, extent)
        title = f"class {class_name(model, label)}" if classes > 1 else None
        scale = _scale(images, across * steps)
        panels.append(image_grid(images.flatten(0, 1), steps, 2, scale, rows, offsets, title))
    return tile_pictures(panels, across)


def traversal_plane(
    model: GenerativeAutoencoder,
    label: int | None = None,
    steps: int = 8,
    extent: float = 2.0,
    dims: Sequence[int] | None = None,
) -> Image.Image:
    """A square of the latent plane around a mean, with the offsets at its sides.

    Arguments and exceptions are those of :func:`genrev.models.walks.traverse_plane`.
    """
    label = check_label(model, label)
    across, down = walks.two_dims(model, label, dims)
    images = walks.traverse_plane(model, label, steps, extent, (across, down))
    offsets = _offset_labels(steps, extent)
    whose = "" if label is None else f" of class {class_name(model, label)}"
    title = f"Standard deviations{whose}\ndim {across} across, dim {down} down"
    return image_grid(images.flatten(0, 1), steps, 3, None, offsets, offsets, title)


def traversal_planes(model: GenerativeAutoencoder) -> Image.Image:
    """The planes of all classes in one picture, each of the two dimensions widest in its class.

    Raises:
        GenrevError: the prior has less than two active dimensions.
    """
    classes = num_classes_of(model)
    rows = math.ceil(classes / max(_PLANES_ACROSS, math.ceil(math.sqrt(classes))))
    across = math.ceil(classes / rows)
    pictures = []
    for label in range(classes):
        across_dim, down_dim = walks.two_dims(model, label, None)
        images = walks.traverse_plane(model, label, dims=(across_dim, down_dim))
        named = f"class {class_name(model, label)}\ndim {across_dim} across, {down_dim} down"
        title = named if classes > 1 else None
        scale = _scale(images, across * len(images))
        pictures.append(image_grid(images.flatten(0, 1), len(images), 3, scale, title=title))
    return tile_pictures(pictures, across)


def _scale(images: Tensor, columns: int) -> int:
    side = max(images.shape[-2:])
    return max(1, min(_WIDTH // (columns * side), _SIDE // side))


def _offset_labels(steps: int, extent: float) -> list[str]:
    offsets = walks.offsets_of(steps, extent).tolist()
    digits = 2 if any(abs(t * 10 - round(t * 10)) > 1e-4 for t in offsets) else 1
    return [f"{t:+.{digits}f}" if t else "0" for t in offsets]
