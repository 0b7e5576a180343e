"""Noise that depends on a seed and a step only, not on what was drawn before.

A resumed run then draws what the uninterrupted one would have drawn, without any generator's
state in the checkpoint.
"""

import numpy as np
import torch

from genrev.data.seeding import seed_sequence

__all__ = ["noise_generator"]


def noise_generator(
    seed: int, step: int, stream: str = "noise", device: torch.device | str = "cpu"
) -> torch.Generator:
    """Make a generator that depends on its arguments and nothing else.

    On the CPU PyTorch keeps 32 bits of a seed, so among 100,000 steps one pair is expected to
    share its noise; on CUDA it keeps all 64.

    Args:
        seed: Seed of the run, not negative.
        step: Step of the training, not negative.
        stream: What the noise is for; add the rank to it where ranks must differ.
        device: Where the generator lives; other devices give other numbers.

    Raises:
        ValueError: If ``seed`` or ``step`` is negative.

    Example:
        >>> a = torch.randn(3, generator=noise_generator(0, step=7))
        >>> b = torch.randn(3, generator=noise_generator(0, step=7))
        >>> bool((a == b).all())
        True
    """
    state = seed_sequence(seed, stream, step).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))
