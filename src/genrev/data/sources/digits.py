"""The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn: no network, no files."""

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits

from genrev.data.sources import Record, Source

_TEST = 297


class Digits(Source):
    """The digits, split without randomness."""

    splits = {"train": 1500, "test": _TEST}  # noqa: RUF012
    class_names = tuple("0123456789")

    def records(self) -> Iterator[Record]:
        """The images of the split, in the order of scikit-learn."""
        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 becomes 0..255
        for index in self._indices(digits.target):
            yield Record(f"digit {index}", pixels[index], int(digits.target[index]))

    def _indices(self, labels: np.ndarray) -> np.ndarray:
        """For the test evenly spaced images of the data sorted by class: fixed and stratified.

        Within a class the original order is that of the writers, so they are spread evenly as well.
        """
        by_class = np.argsort(labels, kind="stable")
        size = _TEST
        spaced = (2 * np.arange(size) + 1) * len(labels) // (2 * size)
        test = by_class[spaced]
        return np.sort(test if self.split == "test" else np.setdiff1d(by_class, test))
