"""Batches that depend on the seed and the step only, on any number of ranks.

So nothing is replayed when a run is resumed, and ranks agree without talking to each other.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from genrev.data.images import ImageData
from genrev.errors import GenrevError
from genrev.seeding import shuffled

KEPT_EPOCHS = 2  # orders that are kept: a batch may cross from one epoch into the next


class Batch(TypedDict):
    """What the loader yields: the share of one rank in the batch of one step."""

    image: Tensor  # uint8 (b, C, H, W)
    label: Tensor  # int64 (b,)
    step: int
    index: Tensor  # int64 (b,), positions of the images in the data


def as_batch(images: np.ndarray, labels: np.ndarray, step: int, index: np.ndarray) -> Batch:
    """The arrays of a batch as tensors that share their memory."""
    image, label, places = map(torch.from_numpy, (images, labels, index))
    return {"image": image, "label": label, "step": step, "index": places}


class StepLoader:
    """A loader that knows the step that comes next, and can go on from any."""

    def __init__(self, steps: int, rank: int, world_size: int, start: int) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"the rank must be 0 to {world_size - 1}, got {rank}")
        self.steps, self.rank, self.world_size = steps, rank, world_size
        self._go_to(start)

    def __len__(self) -> int:
        return self.steps

    def state_dict(self) -> dict[str, Any]:
        """The number of the step that comes next."""
        return {"step": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the step of ``state_dict``."""
        self._go_to(state["step"])

    def _go_to(self, step: int) -> None:
        if not 0 <= step <= self.steps:
            raise ValueError(f"the step must be 0 to {self.steps}, got {step}")
        self._next = step


class BatchLoader(StepLoader):
    """Iterate over the batches of the steps ``start`` to ``steps - 1``.

    Every image is used once before any is used again, in a new order every epoch. Balanced, this
    holds for each class, and every rank's share has equally many images of each, class by class.
    Iterating goes on from where it was last; ``batch`` gives any batch by itself.

    Args:
        data: images and labels.
        batch_size: size of the global batch, over all ranks.
        steps: number of steps of the whole training; also the length of the loader.
        seed: seed of the run, not negative.
        balanced: whether every batch has the same number of images of each class.
        rank: number of this process, one of ``world_size``.
        start: first step to yield.

    Raises:
        GenrevError: the batch cannot be divided among ranks and classes, or (balanced) a
            class has no images.
        ValueError: another number is out of range.

    Example:
        >>> from genrev.data import load_images
        >>> loader = BatchLoader(load_images("digits"), 20, steps=100, seed=0, balanced=True)
        >>> loader.batch(7)["label"].bincount().tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """

    def __init__(
        self,
        data: ImageData,
        batch_size: int,
        steps: int,
        seed: int,
        *,
        balanced: bool,
        rank: int = 0,
        world_size: int = 1,
        start: int = 0,
    ) -> None:
        super().__init__(steps, rank, world_size, start)
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        check_divides(batch_size, data.num_classes if balanced else 1, world_size)
        self.data, self.batch_size = data, batch_size
        groups = _class_indices(data) if balanced else [np.arange(len(data))]
        self._streams = [EndlessShuffle(group, seed, key) for key, group in enumerate(groups)]

    def __iter__(self) -> Iterator[Batch]:
        while self._next < self.steps:
            self._next += 1  # before the batch is out: whoever has it is past it
            yield self.batch(self._next - 1)

    def indices(self, step: int) -> np.ndarray:
        """Positions of this rank's images of a step, int64 (batch_size/world_size,)."""
        count = self.batch_size // len(self._streams)  # of each class, on all ranks
        share = count // self.world_size
        first = step * count + self.rank * share
        return np.concatenate([stream.take(first, share) for stream in self._streams])

    def batch(self, step: int) -> Batch:
        """Compute this rank's share of the batch of any step, whatever was asked for before."""
        if not 0 <= step < self.steps:
            raise IndexError(f"steps are 0 to {self.steps - 1}, got {step}")
        index = self.indices(step)
        return as_batch(np.asarray(self.data.images[index]), self.data.labels[index], step, index)


class EndlessShuffle:
    """Endless shuffled items (n,): at position p, ``permutation of epoch p // n [p % n]``."""

    def __init__(self, items: np.ndarray, seed: int, key: int) -> None:
        self._size = len(items)
        self._epoch = lru_cache(KEPT_EPOCHS)(
            lambda number: shuffled(items, seed, "batches", key, number)
        )

    def take(self, start: int, count: int) -> np.ndarray:
        """The items at positions ``start`` to ``start + count - 1``, int64 (count,)."""
        pieces = []
        end = start + count
        while start < end:
            epoch, offset = divmod(start, self._size)
            pieces.append(self._epoch(epoch)[offset : offset + end - start])
            start += len(pieces[-1])
        return np.concatenate(pieces)


def check_divides(batch_size: int, classes: int, world_size: int) -> None:
    """Raise GenrevError for a batch that cannot be divided evenly."""
    parts = classes * world_size
    if batch_size >= 1 and batch_size % parts == 0:
        return
    shares = [f"{classes} classes"] * (classes > 1) + [f"{world_size} processes"] * (world_size > 1)
    among = f" cannot be divided evenly among {' and '.join(shares)}" if shares else " is too small"
    nearest = max(round(batch_size / parts), 1) * parts
    raise GenrevError(f"The batch size {batch_size}{among}; set it to {nearest} for example.")


def _class_indices(data: ImageData) -> list[np.ndarray]:
    """Positions of the images of each class, in ascending order."""
    groups = [np.flatnonzero(data.labels == number) for number in range(data.num_classes)]
    empty = [name for name, group in zip(data.class_names, groups, strict=True) if not len(group)]
    if empty:
        raise GenrevError(
            f"{data.name} has no images of the class {empty[0]}, so batches cannot hold all "
            "classes alike; use more images, or data that declares no other classes than it has."
        )
    return groups
