"""How a decoded split lies on disk: images.npy, labels.npy and meta.json in one folder."""

import json
from pathlib import Path
from typing import BinaryIO

import numpy as np

from genrev.data.config import DataConfig
from genrev.data.decode import decode_all
from genrev.data.images import ImageData, fingerprint
from genrev.data.labels import encode_labels
from genrev.data.source import Source
from genrev.files.cache import CorruptEntryError

__all__ = ["build_entry", "decode_in_memory", "read_entry"]


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the header of a .npy file of bytes; NumPy pads it for the first axis to grow."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _write_images(path: Path, source: Source, config: DataConfig) -> tuple[list[object], list[str]]:
    """Append images as they are decoded, so that memory holds a few of them only."""
    labels: list[object] = []
    skipped: list[str] = []
    start = 0
    with path.open("wb") as file:
        for chunk in decode_all(source, config):
            skipped += chunk.skipped
            if not chunk.images:
                continue
            images = np.stack(chunk.images)  # (n, C, H, W)
            start = start or _write_header(file, (0, *images.shape[1:]))
            file.write(images.tobytes())
            labels += chunk.labels
        file.seek(0)
        if _write_header(file, (len(labels), *images.shape[1:])) != start:
            raise RuntimeError("the header of the .npy file changed its size")
    return labels, skipped


def _encode(raw_labels: list[object], source: Source) -> tuple[np.ndarray, tuple[str, ...]]:
    return encode_labels(raw_labels, source.name, source.class_names, source.label_required)


def build_entry(folder: Path, source: Source, config: DataConfig) -> None:
    """Decode a source into ``folder``.

    Raises:
        GenrevError: If the source cannot be read; see ``decode_all`` and ``encode_labels``.
    """
    raw_labels, skipped = _write_images(folder / "images.npy", source, config)
    labels, class_names = _encode(raw_labels, source)
    np.save(folder / "labels.npy", labels)
    images = np.load(folder / "images.npy", mmap_mode="r")
    meta = {
        "name": source.name,
        "shape": images.shape,
        "class_names": class_names,
        "fingerprint": fingerprint(images, labels),
        "skipped": skipped,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def read_entry(folder: Path) -> tuple[ImageData, list[str]]:
    """Open what ``build_entry`` wrote; the images stay on disk, as a read-only memory map.

    Returns:
        The data, and the names of the images that were skipped.

    Raises:
        CorruptEntryError: If a file is missing, cut off or does not fit to the others. A changed
            pixel is not noticed, for that would take reading all of them.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        images = np.load(folder / "images.npy", mmap_mode="r")
        labels = np.load(folder / "labels.npy")
        if list(images.shape) != meta["shape"]:
            raise ValueError("the images are not those of meta.json")
        labels.flags.writeable = False
        data = ImageData(
            images, labels, tuple(meta["class_names"]), meta["name"], meta["fingerprint"]
        )
        return data, meta["skipped"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptEntryError(str(folder)) from error


def decode_in_memory(source: Source, config: DataConfig) -> ImageData:
    """Decode a small source without writing anything."""
    chunks = list(decode_all(source, config))
    images = np.stack([image for chunk in chunks for image in chunk.images])
    raw_labels = [label for chunk in chunks for label in chunk.labels]
    labels, class_names = _encode(raw_labels, source)
    images.flags.writeable = labels.flags.writeable = False
    return ImageData(images, labels, class_names, source.name, fingerprint(images, labels))
