"""A RevNet together with its prior."""

from typing import Any

from torch import Tensor

from genrev.models.module import GenerativeModule
from genrev.networks.revnet import RevNet, RevNetConfig
from genrev.priors import ActivePrior, build_prior, describe_prior

__all__ = ["GenerativeRevNet"]


class GenerativeRevNet(GenerativeModule):
    """A generative autoencoder whose decoder is the inverse of its encoder.

    Args:
        net: the invertible network.
        prior: distribution over its latents; its ``dim`` must be the network's.
        class_names: one name per class of the prior.

    Raises:
        ValueError: prior and network, or names and prior, do not fit together.

    Example:
        >>> import torch
        >>> from genrev.networks import revnet
        >>> from genrev.priors import ClassConditionalGaussian
        >>> model = GenerativeRevNet(revnet("digits"), ClassConditionalGaussian(10, 64))
        >>> model.sample(20, label=7, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([20, 1, 8, 8])
    """

    def __init__(
        self, net: RevNet, prior: ActivePrior, class_names: tuple[str, ...] | None = None
    ) -> None:
        super().__init__(prior, class_names)
        if prior.dim != net.config.latent_dim:
            raise ValueError(
                f"the network has {net.config.latent_dim} latent dimensions, the prior {prior.dim}."
            )
        self.net = net

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""
        return self.net.config.image_shape

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D)."""
        return self.net.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""
        return self.net.decode(z)

    def config(self) -> dict[str, Any]:
        """What ``from_config`` needs to build the same modules, as plain JSON values."""
        return {
            "model": "GenerativeRevNet",
            "network": self.net.config.plain(),
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
