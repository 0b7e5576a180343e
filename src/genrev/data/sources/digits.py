"""The 1,797 handwritten digits of 8x8 pixels that come with scikit-learn: no network, no files."""

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits

from genrev.data.sources import Record, Source

_TEST = 297


class Digits(Source):
    """The test has evenly spaced images of the data sorted by class, so of all writers too."""

    splits = {"train": 1500, "test": _TEST}  # noqa: RUF012
    class_names = tuple("0123456789")

    def records(self) -> Iterator[Record]:
        """The images of the split, in the order of scikit-learn."""
        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0..16 becomes 0..255
        by_class = np.argsort(digits.target, kind="stable")
        test = by_class[(2 * np.arange(_TEST) + 1) * len(by_class) // (2 * _TEST)]
        for index in np.sort(test if self.split == "test" else np.setdiff1d(by_class, test)):
            yield Record(f"digit {index}", pixels[index], int(digits.target[index]))
