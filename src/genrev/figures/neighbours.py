"""Samples above the training images nearest to them: do they only repeat what was trained on?"""

import torch
from PIL import Image
from torch import Tensor

from genrev.figures.grid import image_grid

__all__ = ["neighbour_rows"]


def neighbour_rows(samples: Tensor, neighbours: Tensor, columns: int = 10) -> Image.Image:
    """Rows of samples, each above a row of its nearest training images.

    Args:
        samples: images (N, C, H, W) in [0, 1].
        neighbours: the nearest training image of every sample, (N, C, H, W); see
            ``genrev.evaluation.nearest_images``.
        columns: pairs in a row; what does not fill a row at the end is left out.

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
    shown = rows * columns
    pairs = torch.stack([samples[:shown], neighbours[:shown]])  # (2, rows * columns, C, H, W)
    pairs = pairs.unflatten(1, (rows, columns)).transpose(0, 1)  # (rows, 2, columns, ...)
    return image_grid(pairs.flatten(0, 2), columns, row_labels=["sample", "nearest"] * rows)
