"""Straight lines through the latent space, from one image to another (Figures 7 and 8)."""

import torch
from PIL import Image
from torch import Tensor

from genrev.figures.grid import image_grid
from genrev.models.protocol import GenerativeAutoencoder
from genrev.models.walks import interpolate

__all__ = ["interpolation_rows"]


def interpolation_rows(
    model: GenerativeAutoencoder,
    x_a: Tensor,
    x_b: Tensor,
    steps: int = 8,
    restricted: bool = True,
) -> Image.Image:
    """One row per pair: the image ``x_a``, ``steps`` decoded images, the image ``x_b``.

    Arguments and exceptions are those of :func:`genrev.models.walks.interpolate`.
    """
    between = interpolate(model, x_a, x_b, steps, restricted)  # (N, steps, C, H, W)
    ends = [x.to(between).unsqueeze(1) for x in (x_a, x_b)]
    rows = torch.cat((ends[0], between, ends[1]), dim=1)
    labels = ["image a", *(f"{i / (steps - 1):.2f}" for i in range(steps)), "image b"]
    return image_grid(rows.flatten(0, 1), steps + 2, column_labels=labels)
