"""Cut a data set into batches of indices, or take a part of it that stands for the whole."""

from collections.abc import Iterator

import numpy as np

from genrev.data import ImageData
from genrev.data.images import fingerprint

__all__ = ["batches", "evenly_spread", "spread_indices"]


def batches(
    data: ImageData, batch_size: int, indices: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Indices of ``data`` (or those given), ``batch_size`` at a time."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more and is {batch_size}.")
    chosen = np.arange(len(data)) if indices is None else indices
    for start in range(0, len(chosen), batch_size):
        yield chosen[start : start + batch_size]


def spread_indices(total: int, count: int) -> np.ndarray:
    """``count`` of the numbers 0 to ``total - 1``, evenly spread and ascending; all if too few."""
    return np.linspace(0, total, min(count, total), endpoint=False, dtype=np.int64)


def evenly_spread(data: ImageData, count: int) -> ImageData:
    """``count`` images spread evenly over a data set, as a data set with its own fingerprint.

    The same images come back each time, so that what is computed of them can be kept.
    """
    if count >= len(data):
        return data
    chosen = spread_indices(len(data), count)
    images, labels = np.array(data.images[chosen]), data.labels[chosen]
    return ImageData(images, labels, data.class_names, data.name, fingerprint(images, labels))
