"""One split of a data set as blocks of undecoded rows, each of which can be entered at any row.

A block is a row group of a parquet file, or a run of samples of a tar file: what is read at one go.
How many rows each has is found by a look at every file, once, and kept in the cache.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np

from genrev.data.decode import Record
from genrev.files.cache import cache_folder, cache_key, open_or_build
from genrev.progress import track

INDEX_VERSION = 2  # to be raised whenever the same files would give another index
File = TypeVar("File")
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Where the rows of a split are, and their labels."""

    # int64 (n, 4): numbers of the file, of the block in it, and of its first row in it; rows.
    blocks: np.ndarray
    labels: np.ndarray  # int64 (N,)
    class_names: tuple[str, ...]
    spans: np.ndarray  # int64 (N, 2), or (0, 2): what else reading takes, such as offset and size


@dataclass(frozen=True, eq=False)
class Shards:
    """One split, opened."""

    identity: object
    """What tells this content from another wherever it lies, in values that JSON can hold."""
    index: ShardIndex
    read: Callable[[int, int], Iterator[Record]]
    """Goes through a block, given by its number, from a row of it on, without labels."""

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


def number_blocks(files: Iterable[Sequence[int]]) -> np.ndarray:
    """``ShardIndex.blocks`` of files, given the rows of each block of each file."""
    blocks = [
        (number, block, end - rows, rows)
        for number, file in enumerate(files)
        for block, (rows, end) in enumerate(zip(file, accumulate(file), strict=True))
        if rows
    ]
    return np.array(blocks, np.int64)


def inspect_all(inspect: Callable[[File], Found], files: Sequence[File], name: str) -> list[Found]:
    """Apply ``inspect`` to all files, in threads, with a progress bar; results are in order."""
    # More threads than cores: a file on the hub is waited for.
    with ThreadPoolExecutor(16) as pool:
        found = pool.map(inspect, files)
        return list(track(found, f"looking at {name}", "files", len(files)))


def stored_index(
    name: str,
    identity: Mapping[str, object],
    label: str | None,
    cache: str | None,
    build: Callable[[], ShardIndex],
) -> ShardIndex:
    """The index of a split from the cache, by identity and column of labels, or else built."""
    settings = {"version": INDEX_VERSION, "identity": identity, "label": label}
    return open_or_build(
        root=cache_folder("data", cache),
        key=cache_key(f"{name}-index", settings),
        read=_read,
        build=lambda folder: _write(folder, build()),
    )


def _write(folder: Path, index: ShardIndex) -> None:
    for name in ("blocks", "labels", "spans"):
        np.save(folder / f"{name}.npy", getattr(index, name))
    (folder / "meta.json").write_text(json.dumps({"class_names": index.class_names}) + "\n")


def _read(folder: Path) -> ShardIndex:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    blocks = np.load(folder / "blocks.npy")
    labels, spans = (np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("labels", "spans"))
    if len(labels) != blocks[:, 3].sum() or len(spans) not in (0, len(labels)):
        raise ValueError("the arrays do not fit together")
    return ShardIndex(blocks, labels, tuple(meta["class_names"]), spans)
