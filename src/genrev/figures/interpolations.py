"""Straight lines through the latent space, from one image to another (Figures 7 and 8)."""

import torch
from PIL import Image
from torch import Tensor

from genrev.figures.checks import images_for
from genrev.figures.grid import image_grid
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["interpolation_rows", "interpolations"]


def interpolations(
    model: GenerativeAutoencoder,
    x_a: Tensor,
    x_b: Tensor,
    steps: int = 8,
    restricted: bool = True,
) -> Tensor:
    """Decode ``(1 - t) z_a + t z_b`` for ``steps`` values of t from 0 to 1, both included.

    Args:
        model: encoder, decoder and prior.
        x_a: images (N, C, H, W) in [0, 1] to start from.
        x_b: images (N, C, H, W) in [0, 1] to arrive at.
        steps: images on a line, at least 2.
        restricted: clamp both ends to the restricted latent space first, so that the line
            stays where the prior lives; otherwise interpolate between the plain encodings.

    Returns:
        Images (N, steps, C, H, W), not clipped.

    Raises:
        ValueError: images not of the model's shape, batches of different lengths, or less
            than two steps.
    """
    x_a, x_b = images_for(model, x_a, "x_a"), images_for(model, x_b, "x_b")
    if len(x_a) != len(x_b) or steps < 2:
        raise ValueError(
            "interpolation needs as many images at one end as at the other and at least 2 steps; "
            f"got {len(x_a)} and {len(x_b)} images and {steps} steps."
        )
    with inference(model) as device:
        z_a, z_b = model.encode(x_a), model.encode(x_b)  # (N, D)
        if restricted:
            z_a, z_b = model.prior.clamp(z_a), model.prior.clamp(z_b)
        t = torch.linspace(0, 1, steps, device=device, dtype=z_a.dtype).view(1, steps, 1)
        z = (1 - t) * z_a.unsqueeze(1) + t * z_b.unsqueeze(1)  # (N, steps, D)
        return model.decode(z.flatten(0, 1)).unflatten(0, (len(x_a), steps))


def interpolation_rows(
    model: GenerativeAutoencoder,
    x_a: Tensor,
    x_b: Tensor,
    steps: int = 8,
    restricted: bool = True,
) -> Image.Image:
    """One row per pair: the image ``x_a``, ``steps`` decoded images, the image ``x_b``.

    Arguments and exceptions are those of :func:`interpolations`.
    """
    between = interpolations(model, x_a, x_b, steps, restricted)  # (N, steps, C, H, W)
    ends = [x.to(between).unsqueeze(1) for x in (x_a, x_b)]
    rows = torch.cat((ends[0], between, ends[1]), dim=1)
    labels = ["image a", *(f"{i / (steps - 1):.2f}" for i in range(steps)), "image b"]
    return image_grid(rows.flatten(0, 1), steps + 2, column_labels=labels)
