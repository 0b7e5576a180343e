"""Cut a data set into batches of indices."""

from collections.abc import Iterator

import numpy as np

from genrev.data import ImageData

__all__ = ["batches"]


def batches(
    data: ImageData, batch_size: int, indices: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Indices of ``data`` (or those given), ``batch_size`` at a time."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more and is {batch_size}.")
    chosen = np.arange(len(data)) if indices is None else indices
    for start in range(0, len(chosen), batch_size):
        yield chosen[start : start + batch_size]
