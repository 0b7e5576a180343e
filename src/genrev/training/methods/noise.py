"""The random numbers of one training step, on the device before the step begins."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Self

import torch
from torch import Tensor

from genrev.priors import Prior
from genrev.seeding import noise_generator

Draw = Callable[[torch.Generator], Tensor]
Asked = dict[tuple[Hashable, ...], Draw]
"""What a step asked for: streams and sizes, and how they are drawn."""


class Noise:
    """The random numbers of one step: the same on all devices and ranks, and in a resumed run.

    All are drawn on the CPU, from generators seeded by (seed, step, stream).

    Args:
        seed: of the run.
        step: number of the step.
        device: where they are wanted.
        asked: what an earlier step asked for, which is drawn at once and moved without waiting; the
            step adds what it asks for beside.

    Example:
        >>> bool((Noise(0, 7).normal("prior", 3) == Noise(0, 7).normal("prior", 3)).all())
        True
    """

    def __init__(
        self,
        seed: int = 0,
        step: int = 0,
        device: torch.device | str = "cpu",
        asked: Asked | None = None,
    ) -> None:
        self.seed = seed
        self.step = step
        self.device = torch.device(device)
        self.asked: Asked = {} if asked is None else asked
        self.ahead = {key: self._drawn(key, draw) for key, draw in self.asked.items()}

    def generator(self, stream: str) -> torch.Generator:
        """A CPU generator that depends on seed, step and the name of the stream alone."""
        return noise_generator(self.seed, self.step, stream)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers of that shape."""
        return self.draw(stream, lambda generator: torch.randn(shape, generator=generator), *shape)

    def latents(
        self, prior: Prior, n: int, labels: Tensor | None = None, stream: str = "prior"
    ) -> Tensor:
        """Samples (n, dim) of a prior, of classes (n,) or of all in turn."""
        if labels is None:
            labels = torch.arange(n, device=self.device) % prior.num_classes
        return prior.from_noise(self.draw(stream, partial(prior.noise, n), n), labels)

    def draw(self, stream: str, draw: Draw, *sizes: int) -> Tensor:
        """What ``draw`` makes of a stream's generator; ``sizes`` tell one draw from another."""
        key = stream, *sizes
        if key not in self.ahead:
            self.asked[key] = draw
            self.ahead[key] = self._drawn(key, draw)
        return self.ahead[key]

    def replaced(self, ahead: dict[tuple[Hashable, ...], Tensor]) -> Self:
        """The same step with these tensors in place of those that were drawn."""
        other = type(self)(self.seed, self.step, self.device)
        other.asked, other.ahead = self.asked, ahead
        return other

    def _drawn(self, key: tuple[Hashable, ...], draw: Draw) -> Tensor:
        with torch.no_grad():
            drawn = draw(self.generator(str(key[0])))
        if self.device.type == "cuda":  # from pinned memory the host need not wait for the copy
            drawn = drawn.pin_memory()
        return drawn.to(self.device, non_blocking=True)
