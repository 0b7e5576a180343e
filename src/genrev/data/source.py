"""What every kind of source hands over: named records of undecoded images, in a fixed order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genrev.errors import GenrevError

__all__ = ["SPLITS", "Record", "Source", "missing_split"]

SPLITS = ("train", "test", "validation", "valid", "val")
"""Names by which splits are told apart in folders and among parquet files."""


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
    """

    name: str
    identity: dict[str, object]
    records: Callable[[], Iterator[Record]]
    total: int | None
    class_names: tuple[str, ...] | None
    label_required: bool = False
    in_memory: bool = False


def missing_split(name: str, split: str, available: list[str]) -> GenrevError:
    """Say that a data set does not have the split that was asked for."""
    return GenrevError(
        f'{name} has no split "{split}"; it has {", ".join(available)}, so ask for one of these'
    )
