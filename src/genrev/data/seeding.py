"""Independent random streams that are found by name and counter instead of by going through them.

``numpy.random.SeedSequence`` hashes a seed and a ``spawn_key`` into a state, so that streams of
neighbouring seeds, steps or names have nothing in common.
"""

import hashlib

import numpy as np

__all__ = ["seed_sequence"]


def seed_sequence(seed: int, stream: str, *counters: int) -> np.random.SeedSequence:
    """Derive the seed of one stream.

    Args:
        seed: Seed of the whole run, not negative.
        stream: What the randomness is for; other names give independent streams.
        counters: Step, epoch, class and so on, not negative.

    Raises:
        ValueError: If a number is negative.

    Example:
        >>> a, b = seed_sequence(0, "noise", 1), seed_sequence(0, "noise", 2)
        >>> bool(a.generate_state(1) == b.generate_state(1))
        False
    """
    word = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:4])
    return np.random.SeedSequence(seed, spawn_key=(word, *counters))
