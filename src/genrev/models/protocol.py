"""What evaluation, figures and the explorer ask of a model, and nothing more."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from genrev.priors import Prior

__all__ = ["GenerativeAutoencoder"]


@runtime_checkable
class GenerativeAutoencoder(Protocol):
    """An encoder, a decoder and the prior that the encodings are trained to follow."""

    @property
    def prior(self) -> Prior:
        """The distribution that encodings are trained to follow."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""
        ...

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D)."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""
        ...

    def sample(
        self,
        n: int,
        label: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw images (N, C, H, W) clipped to [0, 1]; without ``label`` classes are cycled."""
        ...
