"""One function from the name of a data set to its images."""

import hashlib
import json
import re
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import PIL

from genrev.data.config import DataConfig
from genrev.data.images import ImageData, fingerprint
from genrev.data.names import open_source
from genrev.data.source import Source
from genrev.data.splits import canonical_split
from genrev.data.storage import build_entry, decode_in_memory, read_entry
from genrev.data.streaming.sample import sample_stream
from genrev.data.streaming.stream import open_stream
from genrev.files.cache import cache_folder, open_or_build

__all__ = ["load_images"]

FORMAT_VERSION = 2
"""To be raised whenever the same files and settings would give other pixels, labels or files."""


def _cache_key(source: Source, config: DataConfig, split: str) -> str:
    """Hash everything that determines the pixels, behind a name that people can read."""
    settings = {
        "version": FORMAT_VERSION,
        "pillow": PIL.__version__,
        "identity": source.identity,
        "split": canonical_split(split),
        "crop": config.crop,
        "image_size": config.image_size,
        "channels": config.channels,
        "limit": config.limit,
        "on_error": config.on_error,
        "label": config.label,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{source.name}-{split}").strip("-")[:60]
    return f"{readable}-{digest[:24]}"


def load_images(config: DataConfig | str, split: str = "train") -> ImageData:
    """Load a split of a data set, decoding its images the first time only.

    What is decoded is kept in the cache (see ``DataConfig.cache``) and memory-mapped from there,
    until the files or the configuration change; ``digits`` stays in memory and needs no cache.
    A folder without splits (see ``genrev.data.splits``), and a single parquet file, serve as every
    split.
    Of data that is streamed these are a sample, which is decoded every time; see ``sample_stream``.

    Args:
        config: What to load; a text stands for ``DataConfig(source=text)``.
        split: Which split, usually ``train`` or ``test``; ``val`` and ``Dev`` are ``validation``,
            and ``all`` are the images of all splits together, in memory.

    Returns:
        Images of one shape, with their labels.

    Raises:
        GenrevError: If the name is unknown, the hub is out of reach, there is no such split, an
            image cannot be read, images differ in shape, or a label column is not there.

    Warns:
        UserWarning: If unreadable images were skipped.

    Example:
        >>> data = load_images("digits", "test")
        >>> len(data), data.image_shape, data.num_classes
        (297, (1, 8, 8), 10)
    """
    if isinstance(config, str):
        config = DataConfig(source=config)
    if split == "all":
        return _all_splits(config)
    if config.streaming:
        return sample_stream(open_stream(config, split))
    source, config = open_source(config, split)
    if source.in_memory:
        return replace(decode_in_memory(source, config), inventory=source.inventory)
    data, skipped = open_or_build(
        root=cache_folder("data", config.cache),
        key=_cache_key(source, config, split),
        read=read_entry,
        build=partial(build_entry, source=source, config=config),
    )
    if skipped:
        warnings.warn(
            f"{len(skipped)} unreadable of {len(skipped) + len(data)} images of {data.name} "
            f"were skipped, the first of them {skipped[0]}",
            stacklevel=2,
        )
    return replace(data, inventory=source.inventory)


def _all_splits(config: DataConfig) -> ImageData:
    data = load_images(config, "train")
    others = [name for name in (data.inventory.splits if data.inventory else ()) if name != "train"]
    if not others:
        return data
    parts = [data, *(load_images(config, name) for name in others)]
    names = tuple(dict.fromkeys(name for part in parts for name in part.class_names))
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels_as(names) for part in parts])
    return replace(
        data,
        images=images,
        labels=labels,
        class_names=names,
        fingerprint=fingerprint(images, labels),
    )
