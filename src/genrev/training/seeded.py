"""Weights that depend on the seed of a run and not on what was drawn before."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from genrev.data import noise_generator

__all__ = ["seeded_weights"]


@contextmanager
def seeded_weights(seed: int, name: str) -> Iterator[None]:
    """Within it, modules are initialised from a stream of their own; afterwards all is as before.

    Args:
        seed: of the run.
        name: of what is initialised.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(noise_generator(seed, 0, name).initial_seed())
        yield
