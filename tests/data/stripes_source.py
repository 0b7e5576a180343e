"""A data source of somebody else's, as ``--plugin`` loads it: images of stripes, made up."""

from collections.abc import Iterator

import numpy as np

from genrev.data.sources import SOURCES, Record, Source


@SOURCES.register("stripes")
class Stripes(Source):
    """Grey images of 8x8 with stripes that go across or along."""

    splits = {"train": 40, "test": 10}  # noqa: RUF012

    def records(self) -> Iterator[Record]:
        generator = np.random.default_rng(self.splits[self.split])
        for number in range(self.splits[self.split]):
            pixels = np.zeros((8, 8), np.uint8)
            pixels[::2] = generator.integers(100, 256)
            across = number % 2 == 0
            yield Record(
                f"stripes {number}",
                pixels if across else pixels.T,
                "across" if across else "along",
            )
