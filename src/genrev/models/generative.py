"""A RevNet together with its prior: what is trained, saved, loaded and sampled from."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from genrev.models.revnet import RevNet, RevNetConfig
from genrev.models.walks import interpolate, traverse
from genrev.priors import ActivePrior, build_prior, describe_prior

__all__ = ["GenerativeRevNet"]


class GenerativeRevNet(nn.Module):
    """Encoder, decoder and prior in one module.

    Args:
        net: the invertible network.
        prior: distribution over its latents; its ``dim`` must be the network's.
        class_names: one name per class of the prior.

    Raises:
        ValueError: prior and network, or names and prior, do not fit together.

    Example:
        >>> from genrev.models.presets import revnet
        >>> from genrev.priors import ClassConditionalGaussian
        >>> model = GenerativeRevNet(revnet("digits"), ClassConditionalGaussian(10, 64))
        >>> model.sample(20, label=7, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([20, 1, 8, 8])
    """

    prior: ActivePrior

    def __init__(
        self, net: RevNet, prior: ActivePrior, class_names: tuple[str, ...] | None = None
    ) -> None:
        super().__init__()
        if prior.dim != net.config.latent_dim:
            raise ValueError(
                f"the network has {net.config.latent_dim} latent dimensions, the prior {prior.dim}."
            )
        self.class_names = class_names or tuple(str(c) for c in range(prior.num_classes))
        if len(self.class_names) != prior.num_classes:
            raise ValueError(
                f"{len(self.class_names)} class names for {prior.num_classes} classes."
            )
        self.net = net
        self.prior = prior

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images: (C, H, W)."""
        return self.net.config.image_shape

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D)."""
        return self.net.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""
        return self.net.decode(z)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        label: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw images from the prior.

        Args:
            n: number of images.
            label: class to draw from; ``None`` cycles through all classes.
            generator: CPU generator of the noise; the same seed gives the same images.

        Returns:
            Images (n, C, H, W), clipped to [0, 1].
        """
        return self.decode(self.prior.sample(n, label, generator)).clamp(0, 1)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, restricted: bool = True) -> Tensor:
        """Encode images and decode them again.

        Args:
            x: images (N, C, H, W) in [0, 1].
            restricted: project the encoding onto the restricted latent space in between
                (Fig. 6, middle row); ``False`` uses the full latent space and returns x up to
                rounding.

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
        label: int | None = None,
        steps: int = 9,
        extent: float = 3.0,
        x: Tensor | None = None,
    ) -> Tensor:
        """Walks along single latent dimensions, (len(dims), steps, C, H, W).

        See ``genrev.models.walks.traverse``.
        """
        return traverse(self, dims, label, steps, extent, x)

    def config(self) -> dict[str, Any]:
        """What ``from_config`` needs to build the same modules, as plain JSON values."""
        return {
            "model": "GenerativeRevNet",
            "network": asdict(self.net.config),
            "prior": describe_prior(self.prior),
            "class_names": list(self.class_names),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GenerativeRevNet":
        """Build an untrained model; the weights, which hold the active dimensions, come after.

        Raises:
            KeyError, TypeError, ValueError: a configuration that ``config`` did not write.
        """
        net = RevNet(RevNetConfig(**config["network"]))
        prior = build_prior(config["prior"], net.config.latent_dim)
        return cls(net, prior, tuple(config["class_names"]))
