"""What a network has to be for a generative model to be built on it, and the networks there are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from genrev import options
from genrev.registry import Registry
from genrev.reversible import Engine


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
        self.config: Any = config
        self.engine = engine or Engine()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images, by default the ``config``'s."""
        return self.config.image_shape

    @property
    def latent_dim(self) -> int:
        """Number D of latent dimensions, by default the ``config``'s."""
        return self.config.latent_dim

    @property
    def coarse_dims(self) -> int:
        """Number of latent dimensions that pass through the whole network; they come last."""
        return self.latent_dim

    def set_engine(self, engine: Engine) -> None:
        """Compute it in another way from now on; ``OptionError`` where that is impossible."""
        self.engine = engine

    @property
    def bijective(self) -> bool:
        """Whether every latent is the encoding of one image, so that images have a density."""
        return False

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""

    def encode_with_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, and log|det| of ``encode``'s Jacobian at every image, (N,), if bijective."""
        raise ValueError(f"A {type(self).__name__} is not bijective and has no log-determinant.")

    def forward(self, x: Tensor) -> Tensor:
        """The same as ``encode``."""
        return self.encode(x)

    def checked(self, x: Tensor, what: Literal["images", "latents"]) -> Tensor:
        """A batch in the number format of the parameters; errors as in ``check_floats``."""
        check_floats(x, what, self.image_shape if what == "images" else (self.latent_dim,))
        return x.to(next(self.parameters(), x).dtype)  # a replica of nn.DataParallel has none


NETWORKS: Registry[type[Network]] = Registry(
    "network",
    {
        "revnet": "genrev.networks.revnet:RevNet",
        "conv-autoencoder": "genrev.networks.conv_autoencoder:ConvAutoencoder",
    },
    Network,
)
"""Networks by the name that ``--network.kind`` takes."""


def check_floats(x: Tensor, what: str, shape: tuple[int, ...]) -> None:
    """``TypeError`` or ``ValueError`` unless ``what`` is a batch (N, *shape) of floats."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{what} must be a torch tensor and are a {type(x).__module__}.{type(x).__name__}; "
            "convert them with torch.as_tensor."
        )
    if not x.is_floating_point():
        pixels = x.dtype != torch.bool and what != "latents"
        cure = "x.float() / 255 for 8-bit pixels" if pixels else "their .float()"
        in_range = "" if what == "latents" else " in [0, 1]"
        raise TypeError(f"{what} must be floats{in_range} and are {x.dtype}; give {cure}.")
    if x.dim() != len(shape) + 1 or tuple(x.shape[1:]) != tuple(shape):
        expected = ", ".join(map(str, shape))
        raise ValueError(
            f"{what} must be of shape (N, {expected}), which is what the model takes, and got "
            f"{tuple(x.shape)}."
        )
