"""Read the rows of one lane in the order of the stream."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from genrev.data.source import Record
from genrev.data.streaming.order import StreamOrder, Window
from genrev.data.streaming.shards import Shards

__all__ = ["Lane", "Row"]


class Row(NamedTuple):
    """An undecoded image of a stream."""

    number: int
    """Which row of the data it is."""
    record: Record


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


class Lane:
    """One lane of a stream, from some position on.

    Holds the undecoded images of one window.

    Args:
        shards: Where the rows are.
        order: Which of them come when.
        number: Which lane.
        position: First position in the lane to be read.
    """

    def __init__(self, shards: Shards, order: StreamOrder, number: int, position: int) -> None:
        self._reader = _Reader(shards)
        self._order = order
        self._number = number
        self._position = position
        self._window: Window | None = None
        self._waiting: dict[int, Record] = {}

    def take(self, count: int) -> list[Row]:
        """The next rows."""
        return [self._take() for _ in range(count)]

    def _take(self) -> Row:
        window = self._window
        if window is None or self._position >= window.start + len(window.rows):
            window = self._open()
        place = int(window.order[self._position - window.start])
        self._position += 1
        return Row(int(window.rows[place]), self._waiting.pop(place))

    def _open(self) -> Window:
        """Read the window of the position, but for what of it was given out before."""
        window = self._order.window(self._number, self._position)
        wanted = set(window.order[self._position - window.start :].tolist())
        for place, row in enumerate(window.rows.tolist()):
            record = self._reader.read(row)
            if place in wanted:
                self._waiting[place] = record
        self._window = window
        return window
