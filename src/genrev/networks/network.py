"""What a network has to be for a generative model to be built on it, and the networks there are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

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

    def set_engine(self, engine: Engine) -> None:
        """Compute the network in another way from now on; weights and results stay.

        Raises:
            OptionError: the network cannot be computed that way.
        """
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
        """Latents, and log|det| of the Jacobian of ``encode`` at every image, (N,).

        Raises:
            ValueError: the network is not bijective.
        """
        raise ValueError(f"A {type(self).__name__} is not bijective and has no log-determinant.")

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


def check_images(x: Tensor, image_shape: tuple[int, int, int], model: nn.Module) -> Tensor:
    """Images in the number format of the model.

    Args:
        x: images (N, C, H, W), floats.
        image_shape: (C, H, W) that the model takes.
        model: its parameters tell the format.

    Raises:
        TypeError: no tensor, or whole numbers.
        ValueError: another shape.
    """
    check_floats(x, "images", image_shape)
    return _in_format_of(model, x)


def check_latents(z: Tensor, dim: int, model: nn.Module) -> Tensor:
    """Latents (N, dim) in the number format of the model.

    Raises:
        TypeError: no tensor, or whole numbers.
        ValueError: another shape.
    """
    check_floats(z, "latents", (dim,))
    return _in_format_of(model, z)


def check_floats(x: Tensor, what: str, shape: tuple[int, ...]) -> None:
    """Check a batch.

    Args:
        x: tensor of floats (N, *shape).
        what: what is said to be wrong.
        shape: of one of the batch.

    Raises:
        TypeError: no tensor, or whole numbers.
        ValueError: another shape.
    """
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


def _in_format_of(model: nn.Module, x: Tensor) -> Tensor:
    # A replica of nn.DataParallel has no parameters.
    parameter = next(model.parameters(), x)
    return x.to(parameter.dtype)
