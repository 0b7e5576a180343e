"""The nearest training image of every sample: by pixels, or by any other vectors."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from genrev.data import ImageData
from genrev.evaluation.batches import batches
from genrev.evaluation.features import require_bytes

__all__ = ["nearest", "nearest_images"]

_IMAGES_AT_ONCE = 1000


def nearest(queries: Tensor, references: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The nearest reference of every query, by Euclidean distance.

    Args:
        queries: vectors, float32 of shape (M, D).
        references: vectors (m, D), any number of batches; only one is held at a time.

    Returns:
        Distances, float64 of shape (M,), and positions among all references, int64 of shape
        (M,). A copy is at distance 0 exactly.

    Example:
        >>> queries, references = torch.tensor([[0.0], [5.0]]), torch.tensor([[4.0], [1.0]])
        >>> nearest(queries, references.split(1))
        (tensor([1., 1.], dtype=torch.float64), tensor([1, 0]))
    """
    distances = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    positions = torch.zeros(len(queries), dtype=torch.int64)
    start = 0
    for part in references:
        # |q - r|² without |q|², which all r share: enough to find the nearest r of this part.
        norms = torch.linalg.vector_norm(part, dim=1).square()
        found = torch.addmm(norms, queries, part.T, alpha=-2).argmin(1)  # (M,)
        # Its distance is computed again from the difference, where nothing cancels.
        there = torch.linalg.vector_norm(queries - part[found], dim=1, dtype=torch.float64)
        better = there < distances
        distances = torch.where(better, there, distances)
        positions = torch.where(better, start + found, positions)
        start += len(part)
    return distances, positions


def nearest_images(samples: Tensor, data: ImageData) -> tuple[Tensor, Tensor]:
    """The image of a data set that is nearest to every sample, pixel by pixel.

    Args:
        samples: uint8 images (M, C, H, W).
        data: images of the same shape.

    Returns:
        Euclidean distances in pixels of [0, 1], float64 of shape (M,), and indices into the data
        set, int64 of shape (M,).
    """

    def parts() -> Iterator[Tensor]:
        indices = list(batches(data, _IMAGES_AT_ONCE))
        for part in tqdm(indices, desc=f"neighbours in {data.name}", disable=None, leave=False):
            yield data.tensor(part).flatten(1)

    require_bytes(samples)
    return nearest(samples.flatten(1).float() / 255, parts())
