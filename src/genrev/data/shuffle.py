"""An endless shuffled stream over n items that can be entered anywhere.

Every epoch is a permutation of its own, seeded by its number, so position p of the stream is
item ``permutation(p // n)[p % n]``: each item occurs once before any occurs again.
"""

import numpy as np

from genrev.seeding import seed_sequence

__all__ = ["EndlessShuffle"]

KEPT_EPOCHS = 2


class EndlessShuffle:
    """Permutations of ``items``, one after another without end.

    Args:
        items: int64 array (n,), not empty.
        seed: Seed of the run.
        key: Number of this stream; streams of other numbers are independent.

    Example:
        >>> stream = EndlessShuffle(np.arange(5), seed=0, key=0)
        >>> sorted(stream.take(5, 5).tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(self, items: np.ndarray, seed: int, key: int) -> None:
        self._items = items
        self._seed = seed
        self._key = key
        self._epochs: dict[int, np.ndarray] = {}

    def _epoch(self, number: int) -> np.ndarray:
        if number not in self._epochs:
            while len(self._epochs) >= KEPT_EPOCHS:
                del self._epochs[next(iter(self._epochs))]  # the oldest
            seeds = seed_sequence(self._seed, "batches", self._key, number)
            generator = np.random.Generator(np.random.PCG64(seeds))
            self._epochs[number] = generator.permutation(self._items)
        return self._epochs[number]

    def take(self, start: int, count: int) -> np.ndarray:
        """Return the items at positions ``start`` to ``start + count - 1``, int64 (count,)."""
        size, end = len(self._items), start + count
        pieces = []
        while start < end:
            epoch, offset = divmod(start, size)
            piece = self._epoch(epoch)[offset : offset + end - start]
            pieces.append(piece)
            start += len(piece)
        return np.concatenate(pieces)
