"""Walks through the latent space: lines between images, lines and planes along dimensions.

Interpolations are those of Figures 7 and 8. Traversals move one latent dimension (Figures 9 and 12)
or two while all others stay at the mean of a class or at the clamped encoding of an image.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.models.checks import check_label, images_for, num_classes_of, prior_label
from genrev.models.conditions import contexts_for, one_class, takes_labels
from genrev.models.devices import all_at_once
from genrev.models.inference import GenerativeAutoencoder, inference
from genrev.reversible.context import one_hot

_DESC = "images on walks"  # for a bar


def interpolate(
    model: GenerativeAutoencoder, x_a: Tensor, x_b: Tensor, steps: int = 8, restricted: bool = True
) -> Tensor:
    """Decode ``(1 - t) z_a + t z_b``, t from 0 to 1: images (N, steps, C, H, W), not clipped.

    Args:
        model: encoder, decoder and prior.
        x_a: images (N, C, H, W) in [0, 1] to start from.
        x_b: as many, to arrive at.
        steps: images on a line, at least 2.
        restricted: clamp both ends first, so that the line stays where the prior lives.

    A class-conditional network gets the likely class at either end, and mixtures of the two as
    features on the way between.

    Raises:
        ValueError: images not of the model's shape, batches of two lengths, less than two steps.
    """
    x_a, x_b = images_for(model, x_a, "x_a"), images_for(model, x_b, "x_b")
    if len(x_a) != len(x_b) or steps < 2:
        raise ValueError(
            "Interpolation needs as many images at one end as at the other and at least 2 steps; "
            f"got {len(x_a)} and {len(x_b)} images and {steps} steps."
        )
    with inference(model) as device:
        given_a, given_b = (contexts_for(model, x) for x in (x_a, x_b))
        z_a = all_at_once(model.encode, x_a, *given_a)  # (N, D)
        z_b = all_at_once(model.encode, x_b, *given_b)
        if restricted:
            z_a, z_b = model.prior.clamp(z_a), model.prior.clamp(z_b)
        t = torch.linspace(0, 1, steps, device=device, dtype=z_a.dtype).view(1, steps, 1)
        z = (1 - t) * z_a.unsqueeze(1) + t * z_b.unsqueeze(1)  # (N, steps, D)
        between = []
        for a, b in zip(given_a, given_b, strict=True):
            a, b = (one_hot(c, num_classes_of(model), z.dtype).unsqueeze(1) for c in (a, b))
            between.append(((1 - t) * a + t * b).flatten(0, 1))  # (N * steps, K)
        decoded = all_at_once(model.decode, z.flatten(0, 1), *between, desc=_DESC)
        return decoded.unflatten(0, (len(x_a), steps))


def largest_dims(
    model: GenerativeAutoencoder, count: int, label: int | str | None = None
) -> list[int]:
    """The (at most) ``count`` active dimensions with the largest scale of the prior, in order."""
    number = prior_label(model, check_label(model, label))
    return _largest(model, model.prior.scale(number), count)


def shared_dims(model: GenerativeAutoencoder, count: int = 3) -> list[int]:
    """The (at most) ``count`` active dimensions of the largest scale on average over classes."""
    prior = model.prior
    if prior.num_classes == 1:
        return largest_dims(model, count)
    scales = torch.stack([prior.scale(label) for label in range(prior.num_classes)])  # (K, D)
    return _largest(model, scales.mean(0), count)


def random_dims(model: GenerativeAutoencoder, count: int = 5, seed: int = 0) -> list[int]:
    """(At most) ``count`` different active dimensions, drawn at random as for Figure 9."""
    active = model.prior.active_dims
    order = torch.randperm(len(active), generator=torch.Generator().manual_seed(seed))
    return [int(active[place]) for place in order[:count]]


def _largest(model: GenerativeAutoencoder, scale: Tensor, count: int) -> list[int]:
    """Active dimensions by their ``scale`` (D,), largest first; ties keep their order."""
    active = model.prior.active_dims
    order = torch.sort(scale.detach()[active], descending=True, stable=True).indices
    return [int(dim) for dim in active[order[:count]]]


def traverse(
    model: GenerativeAutoencoder,
    dims: Sequence[int] | None = None,
    label: int | str | None = None,
    steps: int = 9,
    extent: float = 3.0,
    x: Tensor | None = None,
) -> Tensor:
    """Move one latent dimension at a time: images (dims, steps, C, H, W), not clipped.

    Args:
        model: encoder, decoder and prior.
        dims: latent dimensions; by default the 8 with the largest prior scale.
        label: class whose mean and scale are used, by number or name; by default all together.
        steps: images along a dimension, at least 2; an odd number contains the centre itself.
        extent: how far to go to either side, in standard deviations of the prior.
        x: one image (1, C, H, W) whose clamped encoding is the centre instead of the mean.

    Raises:
        ValueError: less than two steps, or ``x`` is not one image of the model's shape.
        GenrevError: a class or a latent dimension that does not exist.
    """
    number = check_label(model, label)
    dims = largest_dims(model, 8, number) if dims is None else _checked(model, dims)
    with inference(model):
        if x is not None and takes_labels(model) and number is None:
            number = int(contexts_for(model, images_for(model, x, "x"))[0][0])
        given, own = one_class(model, number, len(dims) * steps), prior_label(model, number)
        center, scale = model.prior.center(own), model.prior.scale(own)
        if x is not None:
            x = images_for(model, x, "x")
            if len(x) != 1:
                raise ValueError(f"A traversal starts from one image; got {len(x)}.")
            center = model.prior.clamp(model.encode(x, *one_class(model, number, 1)))[0]
        offsets = offsets_of(steps, extent).to(scale)
        z = center.repeat(len(dims), steps, 1)  # (dims, steps, D)
        for row, dim in enumerate(dims):
            z[row, :, dim] += offsets * scale[dim]
        decoded = all_at_once(model.decode, z.flatten(0, 1), *given, desc=_DESC)
        return decoded.unflatten(0, (len(dims), steps))


def traverse_plane(
    model: GenerativeAutoencoder,
    label: int | str | None = None,
    steps: int = 8,
    extent: float = 2.0,
    dims: Sequence[int] | None = None,
) -> Tensor:
    """Like ``traverse``, in a plane that two dimensions span: images (steps, steps, C, H, W).

    The authors' figure has 8 steps.

    Args:
        dims: the one that grows to the right and the one that grows downwards; by default the two
            with the largest prior scale.

    Raises:
        ValueError: less than two steps.
        GenrevError: a class or a dimension that does not exist, or not two dimensions.
    """
    number = check_label(model, label)
    across, down = two_dims(model, number, dims)
    with inference(model):
        given, own = one_class(model, number, steps * steps), prior_label(model, number)
        center, scale = model.prior.center(own), model.prior.scale(own)
        offsets = offsets_of(steps, extent).to(scale)
        z = center.repeat(steps, steps, 1)  # (down, across, D)
        z[:, :, across] += offsets * scale[across]
        z[:, :, down] += (offsets * scale[down]).unsqueeze(1)
        decoded = all_at_once(model.decode, z.flatten(0, 1), *given, desc=_DESC)
        return decoded.unflatten(0, (steps, steps))


def two_dims(
    model: GenerativeAutoencoder, label: int | None, dims: Sequence[int] | None
) -> tuple[int, int]:
    """The two dimensions of a plane: those given, or the two with the largest prior scale."""
    dims = largest_dims(model, 2, label) if dims is None else _checked(model, dims)
    if len(set(dims)) != 2 or len(dims) != 2:
        raise GenrevError(
            f"A plane needs two different latent dimensions and got {dims}; "
            "name two, or use a model with at least two active dimensions."
        )
    return dims[0], dims[1]


def offsets_of(steps: int, extent: float) -> Tensor:
    """Steps from -extent to extent; of an odd number the middle one is exactly 0."""
    if steps < 2:
        raise ValueError(f"A traversal needs at least 2 steps; got {steps}.")
    return extent * (torch.arange(steps) * 2 - (steps - 1)) / (steps - 1)


def _checked(model: GenerativeAutoencoder, dims: Sequence[int]) -> list[int]:
    """The dimensions as a list, if the model has them."""
    if np.ndim(dims) == 0:
        raise TypeError(f"dims takes several latent dimensions and got {dims}; give [{dims}].")
    dims, size = [int(dim) for dim in dims], model.prior.dim
    if not dims:
        raise GenrevError("No latent dimension to traverse: name at least one.")
    for dim in dims:
        if not 0 <= dim < size:
            raise GenrevError(
                f"There is no latent dimension {dim}: this model has dimensions 0 to {size - 1}."
            )
    return dims
