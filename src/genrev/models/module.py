"""What all generative autoencoders of genrev can do once they encode and decode."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genrev.models.checks import check_labels
from genrev.models.pretrained import Pretrained
from genrev.models.walks import interpolate, traverse
from genrev.priors import ActivePrior
from genrev.priors.labels import Labels

__all__ = ["GenerativeModule"]


class GenerativeModule(nn.Module, Pretrained, ABC):
    """Encoder, decoder and prior in one module: what is trained, saved, loaded and sampled from.

    Subclasses encode and decode, and can be described by plain JSON values. They are shared by
    ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``, see ``Pretrained``, and must build
    on the meta device, where ``load`` first sees how large they are.

    Args:
        prior: distribution over the latents.
        class_names: one name per class of the prior; by default their numbers.

    Raises:
        ValueError: names and prior do not fit together.
    """

    prior: ActivePrior

    def __init__(self, prior: ActivePrior, class_names: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.info: dict[str, Any] = {}
        self.class_names = class_names or tuple(str(c) for c in range(prior.num_classes))
        if len(self.class_names) != prior.num_classes:
            raise ValueError(
                f"{len(self.class_names)} class names for {prior.num_classes} classes."
            )
        self.prior = prior

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What ``from_config`` needs to build the same modules, as plain JSON values."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: dict[str, Any]) -> "GenerativeModule":
        """Build an untrained model; the weights, which hold the active dimensions, come after.

        Raises:
            KeyError, TypeError, ValueError: a configuration that ``config`` did not write.
        """

    @torch.no_grad()
    def sample(
        self,
        n: int,
        label: Labels | str | Sequence[str] = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw images from the prior.

        Args:
            n: number of images, 1 or more.
            label: class to draw from, by number or name, or one class for every image (a list, an
                array or a tensor); ``None`` cycles through all classes.
            generator: CPU generator of the noise; the same seed gives the same images.

        Returns:
            Images (n, C, H, W), clipped to [0, 1].

        Raises:
            GenrevError: n is no whole number of 1 or more, there is no such class, or not one
                label for every image.
        """
        count, labels = check_labels(self, n, label)
        return self.decode(self.prior.sample(count, labels, generator)).clamp(0, 1)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, restricted: bool = True) -> Tensor:
        """Encode images and decode them again.

        Args:
            x: images (N, C, H, W) in [0, 1].
            restricted: project the encoding onto the restricted latent space in between
                (Fig. 6, middle row); ``False`` uses the full latent space, from which an
                invertible model returns x up to rounding.

        Returns:
            Images (N, C, H, W), not clipped.
        """
        z = self.encode(x)
        return self.decode(self.prior.clamp(z) if restricted else z)

    def interpolate(
        self, x_a: Tensor, x_b: Tensor, steps: int = 8, restricted: bool = True
    ) -> Tensor:
        """Straight lines between the encodings of pairs of images, (N, steps, C, H, W).

        See ``genrev.models.walks.interpolate``.
        """
        return interpolate(self, x_a, x_b, steps, restricted)

    def traverse(
        self,
        dims: Sequence[int] | None = None,
        label: int | str | None = None,
        steps: int = 9,
        extent: float = 3.0,
        x: Tensor | None = None,
    ) -> Tensor:
        """Walks along single latent dimensions, (len(dims), steps, C, H, W).

        See ``genrev.models.walks.traverse``.
        """
        return traverse(self, dims, label, steps, extent, x)
