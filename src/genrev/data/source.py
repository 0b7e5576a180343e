"""What every kind of source hands over: named records of undecoded images, in a fixed order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Inventory", "Record", "Source"]


@dataclass(frozen=True)
class Inventory:
    """What a source holds beside the split that is opened, for the line that tells of it.

    Args:
        splits: Images of every split, None where that is not known; empty without splits.
        total: Images that are there without splits.
        kind: What files are read.
        skipped: Files that are not read, since they are of no such kind.
        note: What else should be known about how the source is read.
    """

    splits: Mapping[str, int | None] = field(default_factory=dict)
    total: int | None = None
    kind: str = "images"
    skipped: tuple[str, ...] = ()
    note: str | None = None


class Record(NamedTuple):
    """One image before it is decoded."""

    name: str
    """How an error message calls it: a path, or a row of a file."""
    content: Path | bytes | np.ndarray
    """An image file, the bytes of one, or a uint8 array (H, W)."""
    label: object
    """The class as the source has it: a number, a text or None."""


@dataclass(frozen=True)
class Source:
    """One split of a data set, not yet opened.

    Args:
        name: Short name of the data set.
        identity: What tells this content from another, in values JSON can hold: names, sizes
            and times of files, or a fingerprint. Part of the key of the cache.
        records: Opens the split and goes through it once.
        total: Number of records, if that is known beforehand.
        class_names: Names of the classes if the source declares them (labels are then numbers).
        label_required: Whether records without a usable label are an error, not just unlabelled.
        in_memory: Whether the split is so small that it is never written to the cache.
        inventory: What else the source holds.
    """

    name: str
    identity: dict[str, object]
    records: Callable[[], Iterator[Record]]
    total: int | None
    class_names: tuple[str, ...] | None
    label_required: bool = False
    in_memory: bool = False
    inventory: Inventory = field(default_factory=Inventory)
