"""The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn: no network, no files."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from sklearn.datasets import load_digits

from genrev.data.labels import NO_LABELS
from genrev.data.source import Inventory, Record, Source
from genrev.data.splits import split_of_hub
from genrev.errors import GenrevError

__all__ = ["digits_source"]

SIZES = {"train": 1500, "test": 297}
NAME = "digits"


def _split_indices(labels: np.ndarray, split: str) -> np.ndarray:
    """Sort by class and take evenly spaced images for the test: fixed, stratified, no generator.

    Within a class the original order is that of the writers, so they are spread evenly as well.
    """
    by_class = np.argsort(labels, kind="stable")
    size = SIZES["test"]
    spaced = (2 * np.arange(size) + 1) * len(labels) // (2 * size)
    test = by_class[spaced]
    chosen = test if split == "test" else np.setdiff1d(by_class, test)
    return np.sort(chosen)


def _records(split: str, label: str | None) -> Iterator[Record]:
    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 becomes 0..255
    for index in _split_indices(digits.target, split):
        kind = None if label == NO_LABELS else int(digits.target[index])
        yield Record(f"digit {index}", pixels[index], kind)


def digits_source(split: str, label: str | None) -> Source:
    """Open the split ``train`` (1,500 images) or ``test`` (297).

    Raises:
        GenrevError: If the split is another, or ``label`` names a column.
    """
    split = split_of_hub(SIZES, split, NAME)
    if label not in (None, "label", NO_LABELS):
        raise GenrevError(f'{NAME} has no label column "{label}"; leave label out')
    names = tuple(str(digit) for digit in range(10)) if label != NO_LABELS else None
    records = partial(_records, split, label)
    return Source(NAME, {}, records, None, names, in_memory=True, inventory=Inventory(SIZES))
