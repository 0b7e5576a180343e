"""A split that is decoded as it is needed, and what has to be known of it before."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from genrev.data.config import DataConfig
from genrev.data.decode import decode_or_skip
from genrev.data.names import open_shards
from genrev.data.source import Inventory, Record
from genrev.data.streaming.shards import Shards
from genrev.errors import GenrevError

__all__ = ["ImageStream", "open_stream"]


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Images of one shape and their classes, of which none is in memory.

    Args:
        shards: Where the undecoded images are.
        config: What is done to each of them.
        first: Name and shape (C, H, W) of the first image, which all others must have.
        fingerprint: SHA-256 of names and sizes of the files (on the hub: of their addresses, which
            name a commit) and of the settings; not of pixels, which would take reading all.
    """

    shards: Shards = field(repr=False)
    config: DataConfig
    first: tuple[str, tuple[int, int, int]]
    fingerprint: str

    def __len__(self) -> int:
        return int(self.shards.rows.sum())

    @property
    def name(self) -> str:
        """Short name for titles and file names."""
        return self.shards.name

    @property
    def inventory(self) -> Inventory:
        """What else there is where the images come from."""
        return self.shards.inventory

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,) of values 0 to ``num_classes - 1``; all 0 if there are no labels."""
        return self.shards.index.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class; ``("all",)`` if there are no labels."""
        return self.shards.index.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes; 1 if there are no labels."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W)."""
        return self.first[1]


def open_stream(config: DataConfig | str, split: str = "train") -> ImageStream:
    """Open a split of parquet or tar files without decoding more than its first image.

    Args:
        config: What to open; a text stands for ``DataConfig(source=text)``.
        split: Which split, usually ``train`` or ``test``.

    Raises:
        GenrevError: If the name is unknown, the hub is out of reach, there is no such split, the
            data cannot be streamed, the first image cannot be read, or labels cannot be used.
    """
    if isinstance(config, str):
        config = DataConfig(source=config)
    shards, config = open_shards(config, split)
    settings = {
        "files": shards.identity,
        "crop": config.crop,
        "image_size": config.image_size,
        "channels": config.channels,
        "limit": config.limit,
        "label": config.label,
    }
    if config.limit is not None:
        shards = shards.head(config.limit)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return ImageStream(shards, config, _first_image(shards, config), digest)


def _records(shards: Shards) -> Iterator[Record]:
    for block in range(len(shards.rows)):
        yield from shards.read(block, 0)


def _first_image(shards: Shards, config: DataConfig) -> tuple[str, tuple[int, int, int]]:
    for record in _records(shards):
        pixels = decode_or_skip(record, config)
        if pixels is not None:
            channels, height, width = pixels.shape
            return record.name, (channels, height, width)
    raise GenrevError(f"none of the images of {shards.name} can be read; name another source")
