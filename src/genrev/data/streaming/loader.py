"""Splits that are decoded as they are needed, and batches by seed and step only (see ``order``)."""

import hashlib
import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, compress
from math import prod
from typing import Any, TypeVar

import numpy as np

from genrev.data.config import DataConfig
from genrev.data.decode import MOST_THREADS, check_shape, decode_or_skip
from genrev.data.images import ImageData, Images, Inventory, fingerprint
from genrev.data.loader import Batch, StepLoader, as_batch, check_divides
from genrev.data.shards import Shards
from genrev.data.sources import open_source
from genrev.data.streaming.order import Lane, Row, StreamOrder
from genrev.errors import GenrevError

_SETTINGS = ("crop", "image_size", "channels", "limit", "label")
MOST_IMAGES = 10_000
MOST_BYTES = 1 << 29
_AHEAD = 2  # batches that wait to be used; one more is being decoded
_SAMPLE_BATCH = 250

Item = TypeVar("Item")
Map = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


@dataclass(frozen=True, eq=False)
class ImageStream(Images):
    """Images of one shape and their classes, of which none is in memory.

    Args:
        name, labels, class_names, inventory: as in ``ImageData``.
        shards: where the undecoded images are.
        config: what is done to each of them.
        first: name and shape (C, H, W) of the first image, which all others must have.
        fingerprint: SHA-256 of names and sizes of the files (on the hub: of their addresses, which
            name a commit) and of the settings, not of pixels.
    """

    name: str
    labels: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    shards: Shards = field(repr=False)
    config: DataConfig
    first: tuple[str, tuple[int, int, int]]
    fingerprint: str
    inventory: Inventory = field(repr=False)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W)."""
        return self.first[1]


def open_stream(config: DataConfig | str, split: str = "train") -> ImageStream:
    """Open a split of parquet or tar files without decoding more than its first image.

    Args:
        config: what to open; a text stands for ``DataConfig(source=text)``.
        split: which split, usually ``train`` or ``test``.

    Raises:
        GenrevError: no such data or split, data that cannot be streamed, no image that can be
            read, or labels that cannot be used.
    """
    if isinstance(config, str):
        config = DataConfig(source=config)
    # Sources look for other things where they are to be streamed.
    source = open_source(config.replace(streaming=True), split)
    config, shards = source.config, source.shards()
    rows = int(shards.rows.sum())
    counts = {name: rows if name == source.split else None for name in source.splits}
    inventory = source.inventory()._replace(splits=counts, total=rows)
    settings = {"files": shards.identity, **{name: getattr(config, name) for name in _SETTINGS}}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if config.limit is not None:
        shards = shards.head(config.limit)
    index, first = shards.index, _first_image(shards, config, source.name)
    labels, names = index.labels, index.class_names
    return ImageStream(source.name, labels, names, shards, config, first, digest, inventory)


class StreamLoader(StepLoader):
    """Iterate over the batches of the steps ``start`` to ``steps - 1``.

    Images are shuffled anew every epoch, as far as reading allows (see ``order``). With
    ``on_error="skip"`` an image that cannot be read is warned about, and the next one of its batch
    takes its place. Iterating goes on from where it was last.

    Args:
        stream: where the images come from, with the size of the shuffle buffer and the threads.
        batch_size, steps, seed, rank, start: as in ``BatchLoader``.
        world_size: number of processes. The batches of 1, 2, 4, ... processes are the same as long
            as their number divides the largest divisor of ``batch_size`` up to 16.

    Raises:
        GenrevError: the batch cannot be divided among ranks, or an image cannot be read.
        ValueError: another number is out of range.
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
        super().__init__(steps, rank, world_size, start)
        check_divides(batch_size, 1, world_size)
        # Up to 16 lanes a batch, whatever the number of ranks if possible.
        lanes = max(n for n in range(1, 17) if batch_size % n == 0)
        lanes = lanes if lanes % world_size == 0 else world_size
        buffer = stream.config.shuffle_buffer
        self.stream = stream
        self._order = StreamOrder(stream.shards.rows, batch_size, lanes, buffer, seed)
        own = lanes // world_size
        self._lanes = range(rank * own, (rank + 1) * own)

    def __iter__(self) -> Iterator[Batch]:
        workers = self.stream.config.workers
        threads = min(os.cpu_count() or 1, MOST_THREADS) if workers is None else workers
        with ThreadPoolExecutor(max(threads, 1)) as pool:
            ahead = prefetched(self._batches(pool.map), _AHEAD) if threads else None
            with closing(ahead or self._batches(map)) as batches:  # before the pool, which it uses
                for batch in batches:
                    self._next = batch["step"] + 1  # whoever has the batch is past it
                    yield batch

    def _batches(self, apply: Map) -> Generator[Batch, None, None]:
        """All batches that are left."""
        order, first = self._order, self._next
        lanes = [Lane(self.stream.shards, order, n, first * order.share) for n in self._lanes]
        for step in range(first, self.steps):
            taken = apply(partial(Lane.take, count=order.share), lanes)
            yield self._batch(step, list(chain.from_iterable(taken)), apply)

    def _batch(self, step: int, rows: list[Row], apply: Map) -> Batch:
        decoded = list(apply(self._decode, rows))
        places = _readable(decoded, rows)
        index = np.array([rows[place].number for place in places], np.int64)
        images = np.stack([decoded[place] for place in places])  # (b, C, H, W)
        return as_batch(images, self.stream.labels[index], step, index)

    def _decode(self, row: Row) -> np.ndarray | None:
        if (pixels := decode_or_skip(row.record, self.stream.config)) is not None:
            check_shape(row.record.name, pixels.shape, self.stream.first)
        return pixels

    def state_dict(self) -> dict[str, Any]:
        """The number of the step that comes next, and of what data."""
        return {**super().state_dict(), "fingerprint": self.stream.fingerprint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the step of ``state_dict``; GenrevError where the data has changed since."""
        if state["fingerprint"] != self.stream.fingerprint:
            raise GenrevError(
                f"The files of {self.stream.name} are not those that the run began with, so it "
                "cannot go on as it would have; put them back, or start another run."
            )
        super().load_state_dict(state)


def sample_stream(stream: ImageStream) -> ImageData:
    """Decode 10,000 images of a stream, or all where it has fewer, from all over the data.

    Large ones are fewer, 512 MiB; 256x256 RGB are 2,730. The choice depends on data and settings.

    Raises:
        GenrevError: an image cannot be read.

    Warns:
        UserWarning: unreadable images were skipped.
    """
    count = min(len(stream), MOST_IMAGES, max(MOST_BYTES // prod(stream.image_shape), 1))
    size = min(_SAMPLE_BATCH, count)
    stream = replace(stream, config=stream.config.replace(shuffle_buffer=4 * _SAMPLE_BATCH))
    # The seed is not the run's: runs are measured on the same images.
    batches = list(StreamLoader(stream, size, -(-count // size), seed=0))
    index = np.concatenate([batch["index"].numpy() for batch in batches])[:count]
    images = np.concatenate([batch["image"].numpy() for batch in batches])[:count]
    # What stands in for an unreadable image is there already.
    first = np.sort(np.unique(index, return_index=True)[1])
    images, labels = images[first], stream.labels[index[first]]
    images.flags.writeable = labels.flags.writeable = False
    name, digest = stream.name, fingerprint(images, labels)
    return ImageData(images, labels, stream.class_names, name, digest, stream.inventory)


def prefetched(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Go through items in a thread, ``depth`` (1 or more) ahead, until the end or ``close``."""
    end: Any = object()
    with ThreadPoolExecutor(1, "genrev prefetch") as thread:
        made = deque(thread.submit(next, items, end) for _ in range(depth + 1))
        try:
            while (item := made.popleft().result()) is not end:
                made.append(thread.submit(next, items, end))
                yield item
                del item
        finally:
            thread.shutdown(cancel_futures=True)


def _first_image(shards: Shards, config: DataConfig, name: str) -> tuple[str, tuple[int, int, int]]:
    for record in chain.from_iterable(shards.read(block, 0) for block in range(len(shards.rows))):
        if (pixels := decode_or_skip(record, config)) is not None:
            channels, height, width = pixels.shape
            return record.name, (channels, height, width)
    raise GenrevError(f"None of the images of {name} can be read; name another source.")


def _readable(decoded: list[np.ndarray | None], rows: list[Row]) -> list[int]:
    """For each place in a batch itself, or the next place whose image could be read."""
    good, count = np.array([pixels is not None for pixels in decoded]), len(rows)
    if not good.any():
        raise GenrevError(
            f"None of the {count} images of a batch can be read, the first of them "
            f"{rows[0].record.name}; look at the file, or take larger batches."
        )
    for row in compress(rows, ~good):
        told = "cannot be read as an image; another one of its batch takes its place"
        warnings.warn(f"{row.record.name} {told}", stacklevel=2)
    return [(place + int(np.roll(good, -place).argmax())) % count for place in range(count)]
