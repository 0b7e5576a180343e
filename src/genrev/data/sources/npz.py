"""Arrays in ``.npz`` files: those that samplers write, and what a run was given as tensors.

The images are the array ``images`` (as ``genrev sample --npz`` has them) or ``arr_0`` (as
guided-diffusion does), labels are ``labels``, ``label`` or ``arr_1``. Nothing is unpickled.
"""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from genrev.data.config import DataConfig
from genrev.data.images import ImageData
from genrev.data.labels import NO_LABELS
from genrev.data.pixels import as_pixels, is_channels_last
from genrev.data.sources import Record
from genrev.data.sources.folder import FileSource
from genrev.errors import GenrevError
from genrev.files.paths import reason
from genrev.files.writing import replacing
from genrev.words import counted

_IMAGES, _LABELS = ("images", "arr_0"), ("labels", "label", "arr_1")
_DAMAGED = (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)


class Npz(FileSource):
    """A file, or a folder of files whose names may tell splits (``train.npz``, ``test.npz``)."""

    beside_images: ClassVar[bool] = False

    def __init__(self, config: DataConfig, split: str) -> None:
        super().__init__(config)
        self.find_by_ending(".npz", split)
        count = {name: _count(path) for name, path in self._all()}
        self.splits = {
            split: sum(n for name, n in count.items() if name in {str(p) for p, _ in placed})
            for split, placed in self.groups.items()
            if split
        }
        self.total = sum(count[str(path)] for path in self.files)
        self.refuse_columns(", since npz files have theirs in the array labels")

    def records(self) -> Iterator[Record]:
        """The images, file after file."""
        for path in self.files:
            with _reading(path), np.load(path, allow_pickle=False) as arrays:
                name, labels = _images_of(path, arrays.files), _labels_of(arrays.files)
                images = as_pixels(arrays[name], f"the images of {path}")
                known: list[object] = [None] * len(images)
                if labels and self.config.label != NO_LABELS:
                    known = arrays[labels].tolist()
            if len(known) != len(images):
                raise GenrevError(
                    f"{path} has {counted(len(images), 'image')} and "
                    f"{counted(len(known), 'label')}; write as many of both, or leave the labels "
                    "out."
                )
            for row, (pixels, label) in enumerate(zip(images, known, strict=True)):
                yield Record(f"image {row} of {path}", pixels, label)

    def _all(self) -> Iterator[tuple[str, Path]]:
        for placed in self.groups.values():
            yield from ((str(path), path) for path, _ in placed)


def write_npz(data: ImageData, path: Path) -> None:
    """Write images, and the names of their classes as labels, for ``Npz`` to read."""
    arrays = {"images": np.asarray(data.images)}
    if data.class_names != ("all",):
        arrays["labels"] = np.array(data.class_names)[data.labels]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _count(path: Path) -> int:
    """How many images a file has, by the header of their array."""
    with _reading(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        found = _images_of(path, names)
        with archive.open(f"{found}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape = read(file)[0]
    is_channels_last(shape, f"the images of {path}")
    return int(shape[0])


def _images_of(path: Path, names: list[str]) -> str:
    found = [name for name in _IMAGES if name in names]
    if not found:
        raise GenrevError(
            f"{path} has no array called images or arr_0, only {', '.join(names[:5]) or 'nothing'};"
            " name a file that has one."
        )
    return found[0]


def _labels_of(names: list[str]) -> str | None:
    return next((name for name in _LABELS if name in names), None)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        if isinstance(error, GenrevError):
            raise
        raise GenrevError(
            f"{path} cannot be read as an npz file of plain arrays ({reason(error)}); it may be "
            "cut off, so write or copy it again."
        ) from error
