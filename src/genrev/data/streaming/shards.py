"""One split of a data set as blocks of undecoded rows, each of which can be entered at any row.

A block is a row group of a parquet file, or a run of samples of a tar file: what is read at one go.
How many rows each block has is known before the first is read, so the order of an epoch can be
computed instead of being found out by reading (see ``order``). Finding it out takes a look
at every file, once; it is then kept in the cache.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from genrev.data.source import Inventory, Record
from genrev.files.cache import CorruptEntryError, cache_folder, open_or_build

__all__ = ["ShardIndex", "Shards", "stored_index"]

INDEX_VERSION = 2
"""To be raised whenever the same files would give another index."""


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Where the rows of a split are, and their labels.

    Args:
        blocks: int64 array (n, 4): number of the file, number of the block in the file, number of
            its first row in the file, rows.
        labels: int64 array (N,); all 0 if there are no labels.
        class_names: One name per class; ``("all",)`` if there are no labels.
        spans: int64 array (N, 2): offset and size of the image's bytes in a tar file; (0, 2)
            for parquet.
    """

    blocks: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    spans: np.ndarray


@dataclass(frozen=True, eq=False)
class Shards:
    """One split, opened.

    Args:
        name: Short name of the data set.
        identity: What tells this content from another wherever it lies, in values JSON can hold.
        index: Where its rows are.
        read: Goes through a block, given by its number, from a row of it on. Labels are in the
            index.
        inventory: What else the source holds.
    """

    name: str
    identity: object
    index: ShardIndex
    read: Callable[[int, int], Iterator[Record]]
    inventory: Inventory = field(default_factory=Inventory)

    @property
    def rows(self) -> np.ndarray:
        """Rows of each block, int64 (n,)."""
        return self.index.blocks[:, 3]

    def head(self, limit: int) -> "Shards":
        """The first ``limit`` rows only."""
        before = np.cumsum(self.rows) - self.rows
        blocks = self.index.blocks[before < limit].copy()
        blocks[:, 3] = np.minimum(blocks[:, 3], limit - before[before < limit])
        labels = self.index.labels[:limit]
        return replace(self, index=replace(self.index, blocks=blocks, labels=labels))


def _write(folder: Path, index: ShardIndex) -> None:
    for name in ("blocks", "labels", "spans"):
        np.save(folder / f"{name}.npy", getattr(index, name))
    text = json.dumps({"class_names": index.class_names})
    (folder / "meta.json").write_text(text + "\n", encoding="utf-8")


def _read(folder: Path) -> ShardIndex:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        blocks = np.load(folder / "blocks.npy")
        labels, spans = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("labels", "spans"))
        if len(labels) != blocks[:, 3].sum() or len(spans) not in (0, len(labels)):
            raise ValueError("the arrays do not fit together")
        return ShardIndex(blocks, labels, tuple(meta["class_names"]), spans)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptEntryError(str(folder)) from error


def stored_index(
    name: str,
    identity: dict[str, object],
    label: str | None,
    cache: str | None,
    build: Callable[[], ShardIndex],
) -> ShardIndex:
    """Read the index of a split from the cache, or build it and keep it there.

    Args:
        name: Short name of the data set.
        identity: What the index depends on, with ``label``.
        label: Column of the labels.
        cache: As ``DataConfig.cache``.
        build: Looks at all files.

    Raises:
        GenrevError: If the cache cannot be written, or ``build`` raises it.
    """
    settings = {"version": INDEX_VERSION, "identity": identity, "label": label}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]
    return open_or_build(
        root=cache_folder("data", cache),
        key=f"{readable}-index-{digest[:24]}",
        read=_read,
        build=partial(_build, build=build),
    )


def _build(folder: Path, build: Callable[[], ShardIndex]) -> None:
    _write(folder, build())
