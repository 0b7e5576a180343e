"""From the name of a data set to its images, kept as images.npy, labels.npy and meta.json."""

import json
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from genrev.data.config import DataConfig
from genrev.data.decode import MOST_THREADS, UnequalImagesError, check_shape, decode_or_skip
from genrev.data.fitting import as_taken, fitted
from genrev.data.images import ImageData, fingerprint
from genrev.data.sources import Source, is_streamed_only, open_source
from genrev.data.splits import canonical_split
from genrev.data.streaming.loader import open_stream, sample_stream
from genrev.errors import GenrevError
from genrev.files.cache import cache_folder, cache_key, open_or_build
from genrev.progress import Bar
from genrev.words import counted

FORMAT_VERSION = 2  # to be raised whenever the same files and settings would give another entry
_DECODED_AT_ONCE = 256
_SETTINGS = ("crop", "image_size", "channels", "limit", "on_error", "label")


def load_images(config: DataConfig | str | Path, split: str = "train") -> ImageData:
    """Load a split of a data set, decoding its images the first time only.

    They are memory-mapped from the cache (see ``DataConfig.cache``) until the files or the
    configuration change; ``digits`` stays in memory. A folder without splits, and a single parquet
    file, serve as every split. Of data that is streamed they are a sample; see ``sample_stream``.

    Args:
        config: what to load; a text stands for ``DataConfig(source=text)``.
        split: which split, usually ``train`` or ``test``; ``val`` and ``Dev`` are ``validation``,
            and ``all`` are the images of all splits together, in memory.

    Raises:
        GenrevError: no such data, split or label column, no access to the hub, an image that cannot
            be read, or images that differ in shape.

    Warns:
        UserWarning: unreadable images were skipped.

    Example:
        >>> data = load_images("digits", "test")
        >>> len(data), data.image_shape, data.num_classes
        (297, (1, 8, 8), 10)
    """
    if isinstance(config, str | Path):
        config = DataConfig(source=str(config))
    if not isinstance(config, DataConfig):
        raise GenrevError(
            f"A {type(config).__name__} is nothing that images are loaded from; give a name, a "
            "path or a DataConfig. genrev.train and genrev.evaluate take tensors and arrays."
        )
    if split == "all":
        return _all_splits(config)
    if config.streaming:
        return sample_stream(open_stream(config, split))
    source = open_source(config, split)
    if source.identity is None:
        data, skipped = decode_in_memory(source)
    else:
        settings = {  # all that determines the pixels
            "version": FORMAT_VERSION,
            "pillow": PIL.__version__,
            "identity": source.identity,
            "split": canonical_split(split),
            **{name: getattr(source.config, name) for name in _SETTINGS},
        }
        data, skipped = open_or_build(
            root=cache_folder("data", config.cache),
            key=cache_key(f"{source.name}-{split}", settings),
            read=read_entry,
            build=partial(build_entry, source=source),
        )
    if skipped:
        warnings.warn(
            f"{len(skipped)} unreadable of {counted(len(skipped) + len(data), 'image')} of "
            f"{data.name} {'was' if len(skipped) == 1 else 'were'} skipped, the first of them "
            f"{skipped[0]}",
            stacklevel=2,
        )
    return replace(data, inventory=source.inventory())


def load_held_out(
    config: DataConfig,
    split: str | None = None,
    image_shape: tuple[int, ...] | None = None,
    told: bool = False,
) -> tuple[ImageData, str]:
    """A split, and which it is: by default test, or train of data that has no other.

    Args:
        config: of the images.
        split: the one to load.
        image_shape: that images are to have, see ``fitted``.
        told: whether the user knows already what becomes of them.

    Warns:
        UserWarning: there is no test split.
    """
    if not config.streaming and is_streamed_only(config):  # to look at, a sample is enough
        config = config.replace(streaming=True)
        if image_shape is not None:
            config = as_taken(config, image_shape)

    def found(name: str) -> ImageData:
        fit = config if image_shape is None else fitted(config, image_shape, name, told)
        try:
            return load_images(fit, name)
        except UnequalImagesError:  # the first ones fit, and later ones do not
            if image_shape is None:
                raise
            return load_images(as_taken(fit, image_shape), name)

    if split is not None:
        return found(split), split
    try:
        return found("test"), "test"
    except GenrevError as missing:
        try:
            images = found("train")
        except GenrevError:
            raise missing from None
        warnings.warn(f"these are the training images, since {missing}", stacklevel=4)
        return images, "train"


def build_entry(folder: Path, source: Source) -> None:
    """Decode a source into an empty folder, image by image: it may not fit into memory."""
    labels: list[object] = []
    skipped: list[str] = []
    start = 0
    with (folder / "images.npy").open("wb") as file:
        for pixels in decode_all(source, labels, skipped):
            start = start or _write_header(file, (0, *pixels.shape))
            file.write(pixels.tobytes())
        file.seek(0)
        if _write_header(file, (len(labels), *pixels.shape)) != start:
            raise RuntimeError("the header of the .npy file changed its size")
    numbers, class_names = source.encode(labels)
    np.save(folder / "labels.npy", numbers)
    images = np.load(folder / "images.npy", mmap_mode="r")
    meta = {
        "name": source.name,
        "shape": images.shape,
        "class_names": class_names,
        "fingerprint": fingerprint(images, numbers),
        "skipped": skipped,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def read_entry(folder: Path) -> tuple[ImageData, list[str]]:
    """Open what ``build_entry`` wrote, memory-mapped, with the names of skipped images."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    images = np.load(folder / "images.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy")
    if list(images.shape) != meta["shape"]:
        raise ValueError("the images are not those of meta.json")
    labels.flags.writeable = False
    names = tuple(meta["class_names"])
    return ImageData(images, labels, names, meta["name"], meta["fingerprint"]), meta["skipped"]


def decode_all(source: Source, labels: list[object], skipped: list[str]) -> Iterator[np.ndarray]:
    """Decode images (C, H, W) of one shape in order; adds their labels and who is skipped."""
    records = islice(source.records(), source.config.limit)
    attempt = partial(decode_or_skip, config=source.config)
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    known = source.total if source.total is not None else source.splits.get(source.split)
    total = min([n for n in (known, source.config.limit) if n is not None], default=None)
    bar = Bar(f"decoding {source.name}", total)
    first: tuple[str, tuple[int, ...]] | None = None
    with ThreadPoolExecutor(threads) as pool, bar:
        while batch := list(islice(records, _DECODED_AT_ONCE)):
            for record, pixels in zip(batch, pool.map(attempt, batch), strict=True):
                if pixels is None:
                    skipped.append(record.name)
                    continue
                first = first or (record.name, pixels.shape)
                check_shape(record.name, pixels.shape, first)
                labels.append(record.label)
                yield pixels
            bar.update(len(batch))
    if first is None:
        raise GenrevError(f"None of the images of {source.name} can be read; name another source.")


def decode_in_memory(source: Source) -> tuple[ImageData, list[str]]:
    """Decode a source that is not kept in the cache, with the names of skipped images."""
    labels: list[object] = []
    skipped: list[str] = []
    images = np.stack(list(decode_all(source, labels, skipped)))
    numbers, names = source.encode(labels)
    images.flags.writeable = numbers.flags.writeable = False
    return ImageData(images, numbers, names, source.name, fingerprint(images, numbers)), skipped


def _all_splits(config: DataConfig) -> ImageData:
    data = load_images(config, "train")
    others = [name for name in data.inventory.splits if name != "train"]
    if not others:
        return data
    parts = [data, *(load_images(config, name) for name in others)]
    names = tuple(dict.fromkeys(name for part in parts for name in part.class_names))
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels_as(names) for part in parts])
    digest = fingerprint(images, labels)
    return replace(data, images=images, labels=labels, class_names=names, fingerprint=digest)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the header of a .npy file of bytes; NumPy pads it for the first axis to grow."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()
