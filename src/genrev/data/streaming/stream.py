"""A split that is decoded as it is needed, and what has to be known of it before."""

import hashlib
import json
from dataclasses import dataclass, field, replace

import numpy as np

from genrev.data.config import DataConfig
from genrev.data.decode import decode_or_skip
from genrev.data.images import Inventory
from genrev.data.shards import Shards
from genrev.data.sources import open_source
from genrev.errors import GenrevError

_SETTINGS = ("crop", "image_size", "channels", "limit", "label")


@dataclass(frozen=True, eq=False)
class ImageStream:
    """Images of one shape and their classes, of which none is in memory.

    Args:
        name: short name for titles and file names.
        shards: where the undecoded images are.
        config: what is done to each of them.
        first: name and shape (C, H, W) of the first image, which all others must have.
        fingerprint: SHA-256 of names and sizes of the files (on the hub: of their addresses, which
            name a commit) and of the settings; not of pixels, which would take reading all.
        inventory: what else there is where the images come from.
    """

    name: str
    shards: Shards = field(repr=False)
    config: DataConfig
    first: tuple[str, tuple[int, int, int]]
    fingerprint: str
    inventory: Inventory = field(repr=False)

    def __len__(self) -> int:
        return int(self.shards.rows.sum())

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
        config: what to open; a text stands for ``DataConfig(source=text)``.
        split: which split, usually ``train`` or ``test``.

    Raises:
        GenrevError: the name is unknown, the hub is out of reach, there is no such split, the
            data cannot be streamed, the first image cannot be read, or labels cannot be used.
    """
    if isinstance(config, str):
        config = DataConfig(source=config)
    # Sources look for other things where they are to be streamed.
    source = open_source(config.replace(streaming=True), split)
    config, shards = source.config, source.shards()
    rows = int(shards.rows.sum())
    counts = {name: rows if name == source.split else None for name in source.splits}
    inventory = replace(source.inventory(), splits=counts, total=rows)
    settings = {"files": shards.identity, **{name: getattr(config, name) for name in _SETTINGS}}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if config.limit is not None:
        shards = shards.head(config.limit)
    first = _first_image(shards, config, source.name)
    return ImageStream(source.name, shards, config, first, digest, inventory)


def _first_image(shards: Shards, config: DataConfig, name: str) -> tuple[str, tuple[int, int, int]]:
    for block in range(len(shards.rows)):
        for record in shards.read(block, 0):
            pixels = decode_or_skip(record, config)
            if pixels is not None:
                channels, height, width = pixels.shape
                return record.name, (channels, height, width)
    raise GenrevError(f"None of the images of {name} can be read; name another source.")
