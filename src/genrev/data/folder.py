"""A folder of image files, labelled by its subfolders where that is possible without doubt."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from genrev.data.source import SPLITS, Record, Source, missing_split
from genrev.errors import GenrevError

__all__ = ["SUFFIXES", "file_identity", "folder_source", "list_files"]

SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
)
"""Endings, in lower case, of the files that are taken for images; all others are passed over."""


def list_files(root: Path) -> list[Path]:
    """List all files below ``root``, sorted; hidden ones and hidden folders are left out."""
    found: list[Path] = []
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(n for n in subfolders if not n.startswith((".", "__MACOSX")))
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def file_identity(root: Path, files: list[Path]) -> dict[str, object]:
    """Name, size and time of last change of every file: what the cache takes for their content."""
    entries = []
    for path in files:
        stat = path.stat()
        entries.append([path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns])
    return {"root": str(root.resolve()), "files": entries}


@dataclass(frozen=True)
class _Listing:
    """Image files of one split, and the subfolder each is in if they all are in exactly one."""

    files: list[Path]
    classes: list[str] | None


def _listing(root: Path, files: list[Path]) -> _Listing:
    parts = [path.relative_to(root).parts for path in files]
    labelled = all(len(part) == 2 for part in parts)
    return _Listing(files, [part[0] for part in parts] if labelled else None)


def _split_folders(root: Path, images: list[Path]) -> dict[str, Path]:
    """Find the folders of the splits; empty unless all images are in such folders."""
    tops = {path.relative_to(root).parts[0] for path in images}
    return {top: root / top for top in sorted(tops)} if tops <= set(SPLITS) else {}


def _records(listing: _Listing, numbers: dict[str, int]) -> Iterator[Record]:
    for position, path in enumerate(listing.files):
        label = numbers[listing.classes[position]] if listing.classes else None
        yield Record(str(path), path, label)


def folder_source(root: Path, split: str, label: str | None, files: list[Path]) -> Source:
    """Open a split of a folder of images.

    If all images are below folders called like splits (``train``, ``test``, ``validation``,
    ``valid``, ``val``), these are the splits; otherwise the whole folder serves as every split.
    Subfolders become classes, in alphabetic order, if every image is in exactly one of them and
    no deeper; the classes of all splits are numbered together.

    Args:
        root: The folder.
        split: Which split.
        label: Must be None (or ``label``): there are no columns to choose from.
        files: What ``list_files(root)`` returned.

    Raises:
        GenrevError: If there are no images, no such split, or a label column is asked for.
    """
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not images:
        raise GenrevError(
            f"the folder {root} has no images in it; "
            "name one with .png, .jpg, .webp or other image files, or with .parquet files"
        )
    if label not in (None, "label"):
        raise GenrevError(
            f'the folder {root} has no label column "{label}", '
            "for images in folders are labelled by their subfolders; leave label out"
        )
    folders = _split_folders(root, images)
    if folders and split not in folders:
        raise missing_split(f"the folder {root}", split, list(folders))
    listings = {
        name: _listing(folder, [path for path in images if path.is_relative_to(folder)])
        for name, folder in (folders or {split: root}).items()
    }
    chosen = listings[split]
    class_names: tuple[str, ...] | None = None
    if chosen.classes:
        names = {name for listing in listings.values() for name in listing.classes or ()}
        class_names = tuple(sorted(names))
    numbers = {name: number for number, name in enumerate(class_names or ())}
    return Source(
        name=root.resolve().name,
        identity={**file_identity(root, chosen.files), "classes": class_names},
        records=partial(_records, chosen, numbers),
        total=len(chosen.files),
        class_names=class_names,
    )
