"""Tar files in webdataset's layout as shards: members of one sample share their name up to a dot.

``000017.jpg`` and ``000017.cls`` are a sample. Each file is gone through once, header by header.
"""

import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

import numpy as np

from genrev.data.config import DataConfig
from genrev.data.decode import image_endings, sniff
from genrev.data.labels import NO_LABELS
from genrev.data.shards import ShardIndex, Shards, inspect_all, number_blocks, stored_index
from genrev.data.sources import Record
from genrev.data.sources.folder import FileSource
from genrev.errors import GenrevError
from genrev.files.paths import is_hidden

_SAMPLES_A_BLOCK = 256


class Tar(FileSource):
    """Local tar files, which are streamed only."""

    streamed_only = True

    def __init__(self, config: DataConfig, split: str) -> None:
        super().__init__(config)
        self.find_by_ending(".tar", split)
        self.kind = "tar files"

    def shards(self) -> Shards:
        """Runs of samples, whose label is the field that the user names, or ``cls``, if any."""
        paths, label = list(map(str, self.files)), self.config.label
        self.label_required = label not in (None, NO_LABELS)
        build = partial(_index, self, paths)
        index = stored_index(self.name, self.identity, label, self.config.cache, build)
        return Shards(self.content(), index, partial(_read, paths, index))


class _Member(NamedTuple):
    """A file in a tar file: ``folder/000017.seg.png`` is ``seg.png`` of ``folder/000017``."""

    key: str
    field: str
    offset: int
    size: int

    def read(self, file: BinaryIO) -> bytes:
        file.seek(self.offset)
        return file.read(self.size)

    def is_image(self, file: BinaryIO) -> bool:
        if self.field:
            return f".{self.field.rpartition('.')[2]}" in image_endings()
        return sniff(self.read(file))


_Sample = tuple[int, int, str | None]  # offset and size of an image, and its label


def _members(path: str) -> Iterator[_Member]:
    with tarfile.open(path, "r:") as tar:
        for info in tar:
            name = PurePosixPath(info.name)
            if info.isreg() and not any(map(is_hidden, name.parts)):
                stem, _, field = name.name.partition(".")
                yield _Member(str(name.parent / stem), field.lower(), info.offset_data, info.size)
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        # Where a header is damaged, tarfile ends as it does at the end.
        if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {tar.offset}")


def _inspect(path: str, field: str) -> list[_Sample]:
    """Find the first image of each sample, rather ``jpg`` than ``seg.png``, and its label."""
    found: list[_Sample] = []
    try:
        with Path(path).open("rb") as file:
            for key, group in groupby(_members(path), lambda member: member.key):
                members = list(group)
                images = [member for member in members if member.is_image(file)]
                fields = [member.field for member in members]
                if not images and not any(fields):
                    continue  # LICENSE
                if not images:
                    raise GenrevError(
                        f"The sample {key} of {path} has no image, only {', '.join(fields)}; take "
                        "it out, or name tar files with .jpg, .png, .webp or other image files."
                    )
                image = min(images, key=lambda member: "." in member.field)
                label = next((member for member in members if member.field == field), None)
                text = label and label.read(file).decode(errors="replace").strip()
                found.append((image.offset, image.size, text))
    except (OSError, tarfile.TarError) as error:
        raise GenrevError(
            f"{path} cannot be read as a tar file after {len(found)} images [{error}]; "
            "unpack it if it is compressed (gunzip), and copy it again if it is cut off."
        ) from error
    return found


def _index(source: Tar, paths: Sequence[str]) -> ShardIndex:
    """Go through the headers of tar files."""
    name, label = source.name, source.config.label
    field = (label or "cls").lower().removeprefix(".")
    found = inspect_all(partial(_inspect, field=field), paths, name)
    most = _SAMPLES_A_BLOCK
    blocks = number_blocks(
        [min(most, len(file) - first) for first in range(0, len(file), most)] for file in found
    )
    if not len(blocks):
        raise GenrevError(f"{name} has no images in it; name tar files with image files in them.")
    raw: list[object] = [text for file in found for *_, text in file]
    if label not in (None, NO_LABELS) and all(text is None for text in raw):
        raise GenrevError(
            f"{name} has no members .{field} to take labels from; name another label, or leave "
            "it out."
        )
    labels, names = source.encode(raw)
    spans = np.array([span for file in found for *span, _ in file], np.int64)
    return ShardIndex(blocks, labels, names, spans)


def _read(paths: Sequence[str], index: ShardIndex, block: int, start: int) -> Iterator[Record]:
    """Go through the images of a block from a row of it on."""
    number, _, first, rows = (int(n) for n in index.blocks[block])
    path, before = paths[number], int(index.blocks[:block, 3].sum())
    try:
        with Path(path).open("rb") as file:
            for row in range(start, rows):
                offset, size = (int(n) for n in index.spans[before + row])
                file.seek(offset)
                # Cut off since it was looked at, it is an image that cannot be read.
                yield Record(f"row {first + row} of {path}", file.read(size), None)
    except OSError as error:
        raise GenrevError(
            f"{path} cannot be read any more [{error.strerror or error}]; put it back and "
            "go on with `genrev resume`."
        ) from error
