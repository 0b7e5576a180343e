"""What evaluation, figures and the explorer ask of a model, and nothing more."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["GenerativeAutoencoder", "Prior"]


class Prior(Protocol):
    """A distribution over the latent space, most of whose dimensions may be pinned to a constant.

    ``n`` is the size of the full latent space, ``k`` the number of active dimensions.
    """

    num_classes: int
    """Number of classes the prior is conditioned on; 1 when it is not conditioned at all."""

    @property
    def dim(self) -> int:
        """Size ``n`` of the full latent space."""
        ...

    @property
    def active_dims(self) -> Tensor:
        """Indices of the active dimensions, int64 of shape (k,)."""
        ...

    def sample(
        self,
        n: int,
        label: int | Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw latents of shape (n, D) in the full space; without ``label`` classes are cycled."""
        ...

    def scale(self, label: int | None = None) -> Tensor:
        """Standard deviation of every dimension, shape (D,); 0 where the dimension is pinned."""
        ...

    def center(self, label: int | None = None) -> Tensor:
        """Mean of every dimension, shape (D,)."""
        ...

    def clamp(self, z: Tensor) -> Tensor:
        """Project (N, D) latents onto the restricted latent space, shape (N, D)."""
        ...

    def restrict(self, z: Tensor) -> Tensor:
        """Keep the active dimensions: (N, D) to (N, k)."""
        ...

    def embed(self, active: Tensor) -> Tensor:
        """Fill the pinned dimensions in: (N, k) to (N, D)."""
        ...


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
