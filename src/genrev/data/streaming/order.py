"""The order of a stream, computed from a seed without reading anything, and reading in it.

Epoch e holds each of N rows once, at one of the positions e N to (e + 1) N - 1, and the batch of
step t the positions t B to (t + 1) B - 1. Reading is fast in one direction only. Therefore:

1. The blocks of the data are put into a new order in every epoch, end to end.
2. A batch is cut into ``lanes`` of equally many images. Within an epoch each lane reads its own
   part of that row of blocks from one end to the other, as many as it has positions in the epoch.
3. A lane reads ``buffer / lanes`` rows ahead, a window, and gives them out in a random order.

A rank reads some of the lanes; the order depends on the number of ranks only if the lanes do. A
buffer that is filled as it is emptied, as in ``datasets`` and ``webdataset``, mixes over longer
distances, but entering such a stream in the middle takes everything before, not a window.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from genrev.data.decode import Record
from genrev.data.loader import KEPT_EPOCHS
from genrev.data.shards import Shards
from genrev.seeding import shuffled


class Window(NamedTuple):
    """Rows that a lane reads together, in this order."""

    start: int  # position in the lane of the first row given out
    rows: np.ndarray  # int64 (m,)
    order: np.ndarray  # int64 (m,), in which they are given out, as places in rows


class StreamOrder:
    """The order of an endless stream, lane by lane.

    Args:
        rows: rows of each block, int64 (n,), not all 0.
        batch_size: size of the global batch.
        lanes: into how many lanes it is cut; divides it.
        buffer: rows that all lanes together read ahead.
        seed: seed of the run, not negative.

    Raises:
        ValueError: the lanes do not divide the batch, or there are no rows.

    Example:
        >>> order = StreamOrder(np.array([3, 5]), batch_size=4, lanes=2, buffer=4, seed=0)
        >>> sorted(np.concatenate([order.batch(0), order.batch(1)]).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self, rows: np.ndarray, batch_size: int, lanes: int, buffer: int, seed: int
    ) -> None:
        if lanes < 1 or batch_size < 1 or batch_size % lanes:
            raise ValueError(f"a batch of {batch_size} cannot be cut into {lanes} lanes")
        self.total = int(rows.sum())
        if not self.total:
            raise ValueError("there must be at least one row")
        self.share = batch_size // lanes
        self._rows, self._batch_size, self._lanes, self._seed = rows, batch_size, lanes, seed
        self._starts = np.cumsum(rows) - rows  # number of each block's first row
        self._window = max(buffer // lanes, 1)
        self._epoch = lru_cache(KEPT_EPOCHS)(self._shuffled)  # which is safe among threads

    def window(self, lane: int, position: int) -> Window:
        """The window of a lane that holds one of the lane's positions."""
        step, place = divmod(position, self.share)
        epoch = (step * self._batch_size + lane * self.share + place) // self.total
        first, count = self._part(lane, epoch)
        number = (position - first) // self._window
        start = number * self._window
        size = min(self._window, count - start)
        before = sum(self._part(other, epoch)[1] for other in range(lane))
        order = shuffled(size, self._seed, "window", epoch, lane, number)
        return Window(first + start, self._read_rows(epoch, before + start, size), order)

    def batch(self, step: int) -> np.ndarray:
        """Numbers of the rows of a step's global batch, lane after lane, int64 (batch_size,)."""
        rows = np.empty((self._lanes, self.share), np.int64)
        for lane, place in np.ndindex(rows.shape):
            position = step * self.share + place
            window = self.window(lane, position)
            rows[lane, place] = window.rows[window.order[position - window.start]]
        return rows.ravel()

    def _part(self, lane: int, epoch: int) -> tuple[int, int]:
        """First position of a lane in an epoch, and how many it has there."""
        first = self._before(lane, epoch * self.total)
        return first, self._before(lane, (epoch + 1) * self.total) - first

    def _before(self, lane: int, position: int) -> int:
        """How many positions of the lane come before a position of the stream."""
        step, place = divmod(position, self._batch_size)
        return step * self.share + min(max(place - lane * self.share, 0), self.share)

    def _shuffled(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Blocks in the order of an epoch, and where each of them ends in it; int64 (n,) each."""
        blocks = shuffled(len(self._rows), self._seed, "blocks", epoch)
        return blocks, np.cumsum(self._rows[blocks])

    def _read_rows(self, epoch: int, start: int, count: int) -> np.ndarray:
        """Numbers of the rows at some places of the row of blocks of an epoch, int64 (count,)."""
        blocks, ends = self._epoch(epoch)
        places = np.arange(start, start + count)
        position = np.searchsorted(ends, places, "right")
        block = blocks[position]
        return self._starts[block] + places - (ends[position] - self._rows[block])


class Row(NamedTuple):
    """An undecoded image of a stream, and the number of its row."""

    number: int
    record: Record


class Lane:
    """One lane of a stream, from a position on, with the undecoded images of one window."""

    def __init__(self, shards: Shards, order: StreamOrder, number: int, position: int) -> None:
        self._reader, self._order = _Reader(shards), order
        self._number, self._position = number, position
        self._window = Window(position, np.empty(0, np.int64), np.empty(0, np.int64))
        self._waiting: dict[int, Record] = {}

    def take(self, count: int) -> list[Row]:
        """The next rows."""
        taken = []
        for position in range(self._position, self._position + count):
            if position >= self._window.start + len(self._window.rows):
                self._window = self._order.window(self._number, position)
                # What of it was given out before is not kept.
                wanted = set(self._window.order[position - self._window.start :].tolist())
                for place, row in enumerate(self._window.rows.tolist()):
                    record = self._reader.read(row)
                    if place in wanted:
                        self._waiting[place] = record
            place = int(self._window.order[position - self._window.start])
            taken.append(Row(int(self._window.rows[place]), self._waiting.pop(place)))
        self._position += count
        return taken


class _Reader:
    """Rows by their number, fast when they follow each other."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._ends = np.cumsum(shards.rows)
        self._next = self._end = -1
        self._records: Iterator[Record] = iter(())

    def read(self, row: int) -> Record:
        if row != self._next or row == self._end:
            block = int(np.searchsorted(self._ends, row, "right"))
            self._end = int(self._ends[block])
            start = self._end - int(self._shards.rows[block])
            self._records = self._shards.read(block, row - start)
        self._next = row + 1
        return next(self._records)
