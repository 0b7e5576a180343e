"""Random streams that are found by name and counter instead of by going through them.

So a resumed run needs no generator's state. ``numpy.random.SeedSequence`` hashes a seed and a
``spawn_key``, so streams of neighbouring seeds, steps or names have nothing in common.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_sequence(seed: int, stream: str, *counters: int) -> np.random.SeedSequence:
    """The seed of the stream of this name and of counters such as step, epoch and class."""
    word = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:4])
    return np.random.SeedSequence(seed, spawn_key=(word, *counters))


def shuffled(items: np.ndarray | int, seed: int, stream: str, *counters: int) -> np.ndarray:
    """The items, or the numbers below ``items``, in the random order of one stream."""
    bits = np.random.PCG64(seed_sequence(seed, stream, *counters))
    return np.random.Generator(bits).permutation(items)


def noise_generator(
    seed: int, step: int, stream: str = "noise", device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator that depends on its arguments and nothing else; other devices give other numbers.

    On the CPU PyTorch keeps 32 bits of a seed, so among 100,000 steps one pair is expected to
    share its noise; on CUDA it keeps all 64.

    Args:
        seed: seed of the run, not negative.
        step: step of the training, not negative.
        stream: what the noise is for; add the rank to it where ranks must differ.
        device: where the generator lives.

    Example:
        >>> a, b = (torch.randn(3, generator=noise_generator(0, step=7)) for _ in range(2))
        >>> bool((a == b).all())
        True
    """
    state = seed_sequence(seed, stream, step).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))


@contextmanager
def seeded_weights(seed: int, name: str) -> Iterator[None]:
    """Within it, modules are initialised from a stream of their own, and no other is touched."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the generators of accelerators, too.
        torch.default_generator.manual_seed(noise_generator(seed, 0, name).initial_seed())
        yield
