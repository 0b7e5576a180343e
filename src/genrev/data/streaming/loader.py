"""Batches of a stream that depend on the seed and the step only, on any number of ranks.

What ``BatchLoader`` promises of images in memory holds of a stream as well: every image is used
once before any is used again, over all ranks; what one rank gets no other does; a batch does not
depend on what was read before, nor on the number of threads. See ``order`` for how.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from genrev.data.decode import MOST_THREADS, check_shape, decode_or_skip
from genrev.data.loader import Batch, check_divides
from genrev.data.streaming.lane import Lane, Row
from genrev.data.streaming.order import StreamOrder
from genrev.data.streaming.prefetch import prefetched
from genrev.data.streaming.stream import ImageStream
from genrev.errors import GenrevError

__all__ = ["StreamLoader"]

USUAL_LANES = 16
AHEAD = 2  # batches that wait to be used; one more is being decoded

Item = TypeVar("Item")
Result = TypeVar("Result")
Map = Callable[[Callable[[Item], Result], Sequence[Item]], Iterator[Result]]


class StreamLoader:
    """Iterate over the batches of the steps ``start`` to ``steps - 1``.

    Images are shuffled anew every epoch, as far as reading allows (see ``order``), and batches
    cross from one epoch into the next. With ``on_error="skip"`` an image that cannot be read is
    warned about, and its place is taken by the next one of its batch that can.

    Iterating goes on from where it was last.

    Args:
        stream: Where the images come from, with the size of the shuffle buffer and the number of
            threads.
        batch_size: Size of the global batch, over all ranks.
        steps: Number of steps of the whole training; also the length of the loader.
        seed: Seed of the run, not negative.
        rank: Number of this process.
        world_size: Number of processes. The batches of 1, 2, 4, ... processes are the same as long
            as their number divides the largest divisor of ``batch_size`` up to 16.
        start: First step to yield.

    Raises:
        GenrevError: If the batch cannot be divided among ranks, or an image cannot be read.
        ValueError: If another number is out of range.
    """

    def __init__(
        self,
        stream: ImageStream,
        batch_size: int,
        steps: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be 0 to {world_size - 1}, got {rank}")
        if not 0 <= start <= steps:
            raise ValueError(f"start must be 0 to steps ({steps}), got {start}")
        check_divides(batch_size, 1, world_size)
        lanes = _lanes(batch_size, world_size)
        self.stream = stream
        self.steps = steps
        self._order = StreamOrder(
            stream.shards.rows, batch_size, lanes, stream.config.shuffle_buffer, seed
        )
        own = lanes // world_size
        self._lanes = range(rank * own, (rank + 1) * own)
        self._next = start

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        workers = self.stream.config.workers
        threads = min(os.cpu_count() or 1, MOST_THREADS) if workers is None else workers
        if not threads:
            yield from self._counted(self._batches(map))
            return
        with ThreadPoolExecutor(threads) as pool:
            batches = prefetched(self._batches(pool.map), AHEAD)
            try:
                yield from self._counted(batches)
            finally:
                batches.close()  # before the pool: the thread uses it

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._next = batch["step"] + 1  # before the batch is out: whoever has it is past it
            yield batch

    def _batches(self, apply: Map) -> Iterator[Batch]:
        """All batches that are left."""
        share, first = self._order.share, self._next
        lanes = [
            Lane(self.stream.shards, self._order, number, first * share) for number in self._lanes
        ]
        for step in range(first, self.steps):
            taken = apply(partial(Lane.take, count=share), lanes)
            yield self._batch(step, [row for rows in taken for row in rows], apply)

    def _batch(self, step: int, rows: list[Row], apply: Map) -> Batch:
        decoded = list(apply(partial(_decode, stream=self.stream), rows))
        places = _readable(decoded, rows)
        index = np.array([rows[place].number for place in places], np.int64)
        images = np.stack([decoded[place] for place in places])  # (b, C, H, W)
        return {
            "image": torch.from_numpy(images),
            "label": torch.from_numpy(self.stream.labels[index]),
            "step": step,
            "index": torch.from_numpy(index),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the step that comes next, and of what data."""
        return {"step": self._next, "fingerprint": self.stream.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the step of ``state_dict``.

        Raises:
            GenrevError: If the data has changed since.
            ValueError: If there is no such step.
        """
        if state["fingerprint"] != self.stream.fingerprint:
            raise GenrevError(
                f"the files of {self.stream.name} are not those that the run began with, so it "
                "cannot go on as it would have; put them back, or start another run"
            )
        if not 0 <= state["step"] <= self.steps:
            raise ValueError(f"the step must be 0 to {self.steps}, got {state['step']}")
        self._next = state["step"]


def _lanes(batch_size: int, world_size: int) -> int:
    """Into how many lanes a batch is cut: about 16, whatever the number of ranks if possible."""
    usual = max(n for n in range(1, USUAL_LANES + 1) if batch_size % n == 0)
    return usual if usual % world_size == 0 else world_size


def _decode(row: Row, stream: ImageStream) -> np.ndarray | None:
    pixels = decode_or_skip(row.record, stream.config)
    if pixels is not None:
        check_shape(row.record.name, pixels.shape, stream.first)
    return pixels


def _readable(decoded: list[np.ndarray | None], rows: list[Row]) -> list[int]:
    """For each place in a batch itself, or the next place whose image could be read."""
    good = np.array([pixels is not None for pixels in decoded])
    if not good.any():
        raise GenrevError(
            f"none of the {len(rows)} images of a batch can be read, the first of them "
            f"{rows[0].record.name}; look at the file, or take larger batches"
        )
    places = []
    for place, row in enumerate(rows):
        if not good[place]:
            warnings.warn(
                f"{row.record.name} cannot be read as an image; another one of its batch takes "
                "its place",
                stacklevel=2,
            )
        places.append((place + int(np.roll(good, -place).argmax())) % len(rows))
    return places
