r"""The convolutional autoencoder of the Wasserstein autoencoder's experiments, with its prior.

The encoder halves the image with every convolution and ends in a linear layer to the latents; the
decoder begins with a linear layer and doubles the image with every transposed convolution but the
last one, which draws the pixels:

    encoder   [conv 5x5 stride 2, batch norm, ReLU] for each width, linear
    decoder   linear, ReLU, [transposed conv 5x5 stride 2, batch norm, ReLU], conv 5x5, sigmoid

A *stochastic* encoder (that of the variational autoencoder) has a second linear layer: it gives
the mean and the log-variance of a diagonal Gaussian for every image. ``encode`` is its mean.

Unlike a RevNet, this network has as few latent dimensions as the prior has: all are active, the
restricted latent space is the full one, and decode(encode(x)) is x only as far as training gets.

Reference: Tolstikhin et al., "Wasserstein auto-encoders" (2018), appendix, and the configurations
``dcgan`` (encoder) and ``dcgan_mod`` (decoder) of their published code. Other than there, weights
start as PyTorch has them, images enter as 2x - 1 whatever they show, and a sigmoid takes the
place of tanh, which for images in [0, 1] is the same: (tanh(h) + 1) / 2 = sigmoid(2h).
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from genrev.models.module import GenerativeModule
from genrev.networks.network import check_images, check_latents
from genrev.priors import ActiveGaussian, ActivePrior, build_prior, describe_prior

__all__ = ["ConvAutoencoderConfig", "GenerativeConvAutoencoder"]


@dataclass(frozen=True)
class ConvAutoencoderConfig:
    """Architecture of a convolutional autoencoder.

    Args:
        image_size: height and width of the images.
        channels: channels of the images.
        latent_dim: number of latent dimensions.
        encoder_channels: width of every convolution of the encoder; each halves the image and
            rounds up.
        decoder_channels: width after the decoder's linear layer, and of every transposed
            convolution; each doubles the image.
        kernel_size: of all convolutions, an odd number.
        stochastic: whether the encoder gives a mean and a log-variance, or a point.

    Raises:
        ValueError: sizes that do not fit together.
    """

    image_size: int = 64
    channels: int = 3
    latent_dim: int = 64
    encoder_channels: tuple[int, ...] = (128, 256, 512, 1024)
    decoder_channels: tuple[int, ...] = (1024, 512, 256, 128)
    kernel_size: int = 5
    stochastic: bool = False

    def __post_init__(self) -> None:
        for name in ("encoder_channels", "decoder_channels"):  # YAML and JSON know lists only
            object.__setattr__(self, name, tuple(getattr(self, name)))
        widths = (*self.encoder_channels, *self.decoder_channels)
        if not self.encoder_channels or not self.decoder_channels or min(widths) < 1:
            raise ValueError("encoder_channels and decoder_channels need one width or more.")
        if min(self.channels, self.latent_dim) < 1 or self.kernel_size % 2 == 0:
            raise ValueError(
                "channels and latent_dim must be 1 or more, and kernel_size an odd number."
            )
        doublings = len(self.decoder_channels) - 1
        if self.image_size < 2**doublings or self.image_size % 2**doublings:
            raise ValueError(
                f"image_size is {self.image_size} and must be a multiple of {2**doublings}, since "
                f"{doublings} transposed convolutions double the decoder's first map."
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""
        return self.channels, self.image_size, self.image_size


class GenerativeConvAutoencoder(GenerativeModule):
    """A convolutional autoencoder together with its prior; see the module's text.

    Batch normalisation uses the statistics of the batch in training mode, and those it has
    collected in evaluation mode, which ``genrev.load`` puts a model in.

    Args:
        config: the architecture.
        prior: distribution over the latents; by default a standard normal in all dimensions.
        class_names: one name per class of the prior.

    Raises:
        ValueError: prior and network, or names and prior, do not fit together.

    Example:
        >>> config = ConvAutoencoderConfig(28, 1, 8, (16, 32), (32, 16, 16))
        >>> model = GenerativeConvAutoencoder(config).eval()
        >>> model.encode(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 8])
        >>> model.sample(3, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 1, 28, 28])
    """

    def __init__(
        self,
        config: ConvAutoencoderConfig,
        prior: ActivePrior | None = None,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        prior = ActiveGaussian(config.latent_dim, bound=None) if prior is None else prior
        super().__init__(prior, class_names)
        if prior.dim != config.latent_dim:
            raise ValueError(
                f"the network has {config.latent_dim} latent dimensions, the prior {prior.dim}."
            )
        self.architecture = config
        self.encoder, features = _encoder(config)
        self.mean = nn.Linear(features, config.latent_dim)
        self.log_variance = nn.Linear(features, config.latent_dim) if config.stochastic else None
        self.decoder = _decoder(config)
        _use_channels_last(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""
        return self.architecture.image_shape

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and log-variance of the encodings of images (N, C, H, W) in [0, 1], (N, D) each.

        A model that is not stochastic has no log-variance.
        """
        features = self._features(x)
        log_variance = None if self.log_variance is None else self.log_variance(features)
        return self.mean(features), log_variance

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D): means, if it is stochastic."""
        return self.mean(self._features(x))

    def _features(self, x: Tensor) -> Tensor:
        return self.encoder(2 * check_images(x, self.image_shape, self) - 1)

    def logits(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to the logits of images, (N, C, H, W)."""
        return self.decoder(check_latents(z, self.architecture.latent_dim, self)).contiguous()

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W) in [0, 1]."""
        return self.logits(z).sigmoid()

    def config(self) -> dict[str, Any]:
        """What ``from_config`` needs to build the same modules, as plain JSON values."""
        return {
            "model": "GenerativeConvAutoencoder",
            "network": asdict(self.architecture),
            "prior": describe_prior(self.prior),
            "class_names": list(self.class_names),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GenerativeConvAutoencoder":
        """Build an untrained model; the weights come after.

        Raises:
            KeyError, TypeError, ValueError: a configuration that ``config`` did not write.
        """
        architecture = ConvAutoencoderConfig(**config["network"])
        prior = build_prior(config["prior"], architecture.latent_dim)
        return cls(architecture, prior, tuple(config["class_names"]))


def _use_channels_last(module: nn.Module) -> None:
    """Keep filters, and with them all maps, with channels innermost: up to 1.6 times as fast."""
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _encoder(config: ConvAutoencoderConfig) -> tuple[nn.Sequential, int]:
    """Images to features, and the number of features."""
    layers: list[nn.Module] = []
    before, size = config.channels, config.image_size
    for width in config.encoder_channels:
        conv = nn.Conv2d(before, width, config.kernel_size, 2, config.kernel_size // 2)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before, size = width, (size + 1) // 2
    return nn.Sequential(*layers, nn.Flatten()), before * size**2


def _decoder(config: ConvAutoencoderConfig) -> nn.Sequential:
    """Latents to logits."""
    before, *widths = config.decoder_channels
    size, kernel = config.image_size // 2 ** len(widths), config.kernel_size
    layers: list[nn.Module] = [
        nn.Linear(config.latent_dim, before * size**2),
        nn.Unflatten(1, (before, size, size)),
        nn.ReLU(),
    ]
    for width in widths:
        conv = nn.ConvTranspose2d(before, width, kernel, 2, kernel // 2, output_padding=1)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Conv2d(before, config.channels, kernel, 1, kernel // 2))
