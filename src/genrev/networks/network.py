"""What a network has to be for a generative model to be built on it, and the networks there are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from genrev import options
from genrev.registry import Registry
from genrev.reversible.execution import Engine

__all__ = ["NETWORKS", "Network"]


class Network(nn.Module, ABC):
    """Encoder and decoder between images and latent vectors; what a model adds a prior to.

    A subclass names its options and its presets, and is registered in ``NETWORKS``. It must build
    on the meta device, where ``load`` first sees how large it is.

    Args:
        config: the network's shape, an instance of ``Options``.
        engine: how it is computed, for networks of reversible blocks; others ignore it.
    """

    Options: ClassVar[type[options.Options]]
    """The options of ``config``."""
    presets: ClassVar[Mapping[str, options.Options]] = {}
    """Configurations by name; names are unique over all networks."""
    reversible: ClassVar[bool] = False
    """Whether ``decode`` inverts ``encode`` and an ``Engine`` says how both are computed."""

    def __init__(self, config: options.Options, engine: Engine | None = None) -> None:
        super().__init__()
        self.config = config
        self.engine = engine or Engine()

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""

    @property
    @abstractmethod
    def latent_dim(self) -> int:
        """Number D of latent dimensions."""

    @property
    def coarse_dims(self) -> int:
        """Number of latent dimensions that pass through the whole network; they come last."""
        return self.latent_dim

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        """The same as ``encode``."""
        return self.encode(x)


NETWORKS: Registry[type[Network]] = Registry(
    "network",
    {
        "revnet": "genrev.networks.revnet:RevNet",
        "conv-autoencoder": "genrev.networks.conv_autoencoder:ConvAutoencoder",
    },
)
"""Networks by the name that ``--network.kind`` takes."""
