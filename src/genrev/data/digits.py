"""The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn: no network, no files."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from sklearn.datasets import load_digits

from genrev.data.source import Record, Source, missing_split
from genrev.errors import GenrevError

__all__ = ["digits_source"]

TEST_SIZE = 297
NAME = "digits"


def _split_indices(labels: np.ndarray, split: str) -> np.ndarray:
    """Sort by class and take evenly spaced images for the test: fixed, stratified, no generator.

    Within a class the original order is that of the writers, so they are spread evenly as well.
    """
    by_class = np.argsort(labels, kind="stable")
    spaced = (2 * np.arange(TEST_SIZE) + 1) * len(labels) // (2 * TEST_SIZE)
    test = by_class[spaced]
    chosen = test if split == "test" else np.setdiff1d(by_class, test)
    return np.sort(chosen)


def _records(split: str) -> Iterator[Record]:
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 becomes 0..255
    for index in _split_indices(digits.target, split):
        yield Record(f"digit {index}", pixels[index], int(digits.target[index]))


def digits_source(split: str, label: str | None) -> Source:
    """Open the split ``train`` (1,500 images) or ``test`` (297).

    Raises:
        GenrevError: If the split is another, or ``label`` names a column.
    """
    if split not in ("train", "test"):
        raise missing_split(NAME, split, ["train", "test"])
    if label not in (None, "label"):
        raise GenrevError(f'{NAME} has no label column "{label}"; leave label out')
    names = tuple(str(digit) for digit in range(10))
    return Source(NAME, {}, partial(_records, split), None, names, in_memory=True)
