"""One line about data that is read: splits, classes, and what is left out."""

import sys

from genrev.data.images import ImageData
from genrev.data.source import Inventory
from genrev.data.streaming.stream import ImageStream

__all__ = ["announce", "skipped_files", "summary"]

_SHOWN_FILES = 3
_SHOWN_CLASSES = 3


def summary(data: ImageData | ImageStream) -> str:
    """Tell how a data set was understood.

    Example:
        >>> from genrev.data import load_images
        >>> summary(load_images("digits"))
        'digits: train 1,500, test 297, 10 classes (0, 1, 2, ...)'
    """
    found = data.inventory or Inventory(total=len(data))
    splits = [f"{name} {count:,}" if count else name for name, count in found.splits.items()]
    if not splits:
        total = len(data) if found.total is None else found.total
        splits = [f"{total:,} images without splits"]
    line = f"{data.name}: {', '.join([*splits, _classes(data.class_names)])}"
    notes = [found.note, skipped_files(found.skipped, found.kind)]
    return "; ".join([line, *(note for note in notes if note)])


def _classes(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return "no classes"
    more = ["..."] if len(names) > _SHOWN_CLASSES else []
    return f"{len(names):,} classes ({', '.join([*map(_shown, names[:_SHOWN_CLASSES]), *more])})"


def skipped_files(names: tuple[str, ...], kind: str = "images") -> str | None:
    """Count and name files that are not read since they are not ``kind``; None without any."""
    if not names:
        return None
    count = f"{len(names):,} files" if len(names) > 1 else "1 file"
    more = ["..."] if len(names) > _SHOWN_FILES else []
    shown = ", ".join([*map(_shown, names[:_SHOWN_FILES]), *more])
    return f"skipped {count} other than {kind}: {shown}"


def _shown(name: str) -> str:
    """A name of a file or class, which may hold anything, on one line."""
    return name if name.isprintable() else ascii(name)


def announce(data: ImageData | ImageStream) -> None:
    """Print ``summary`` on standard error, where it is in nobody's way."""
    print(f"data {summary(data)}", file=sys.stderr)
