r"""The convolutional autoencoder of the Wasserstein autoencoder's experiments.

The encoder halves the image with every convolution, the decoder doubles it with every transposed
one, and a last convolution draws the pixels:

    encoder   [conv 5x5 stride 2, batch norm, ReLU] for each width, linear
    decoder   linear, ReLU, [transposed conv 5x5 stride 2, batch norm, ReLU], conv 5x5, sigmoid

A *stochastic* encoder (that of the variational autoencoder) has a second linear layer: it gives
the mean and the log-variance of a diagonal Gaussian for every image. ``encode`` is its mean.
In a *spherical* latent space (that of the adversarial generator-encoder) encodings, and latents
before they are decoded, are projected onto the sphere around 0 of radius :math:`\sqrt{D}`: of a
standard normal in all dimensions remains the uniform distribution there.
A prior on these few latent dimensions makes all of them active, and decode(encode(x)) is x only as
far as training gets.

Reference: Tolstikhin et al., "Wasserstein auto-encoders" (2018), appendix, and the configurations
``dcgan`` (encoder) and ``dcgan_mod`` (decoder) of their published code. Other than there, weights
start as PyTorch has them, images enter as 2x - 1 whatever they show, and a sigmoid takes the
place of tanh, which for images in [0, 1] is the same: (tanh(h) + 1) / 2 = sigmoid(2h).
"""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from genrev.networks.network import Network
from genrev.options import Count, OptionError, Options
from genrev.reversible import Engine

Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


class ConvAutoencoderConfig(Options):
    """Architecture of a convolutional autoencoder."""

    image_size: Count = 64
    """Height and width of the images."""
    channels: Count = 3
    """Channels of the images."""
    latent_dim: Count = 64
    """Number of latent dimensions."""
    encoder_channels: Widths = (128, 256, 512, 1024)
    """Width of every convolution of the encoder; each halves the image and rounds up."""
    decoder_channels: Widths = (1024, 512, 256, 128)
    """Width after the decoder's linear layer, and of every transposed convolution; each doubles the
    image."""
    kernel_size: Count = 5
    """Side of all kernels, an odd number."""
    stochastic: bool = False
    """Whether the encoder gives a mean and a log-variance, or a point."""
    spherical: bool = False
    """Whether latents are projected onto a sphere, those of an encoder of points only."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kernel_size % 2 == 0:
            raise OptionError(f"kernel_size must be an odd number and is {self.kernel_size}.")
        if self.stochastic and self.spherical:
            raise OptionError(
                "A stochastic encoder draws points off the sphere; set stochastic or spherical to "
                "false."
            )
        doublings = len(self.decoder_channels) - 1
        if self.image_size % 2**doublings:
            raise OptionError(
                f"image_size is {self.image_size} and must be a multiple of {2**doublings}, since "
                f"{doublings} transposed convolutions double the decoder's first map."
            )
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W) of the images."""
        return self.channels, self.image_size, self.image_size


class ConvAutoencoder(Network):
    """A convolutional autoencoder; see the module's text.

    The small presets have as many parameters as a preset RevNet for the same images: within 1 % for
    ``wae32`` (``faces32``) and ``wae28`` (``mnist``), within 2 % for ``wae8`` (``digits``), whether
    the encoder is stochastic or not. They spend them on small maps, so that a training step takes
    about as long as the RevNet's. An ``engine`` is without effect.

    Example:
        >>> net = ConvAutoencoder(ConvAutoencoder.presets["wae8"]).eval()
        >>> z = net.encode(torch.rand(5, 1, 8, 8))
        >>> z.shape, net.decode(z).shape
        (torch.Size([5, 8]), torch.Size([5, 1, 8, 8]))
    """

    Options = ConvAutoencoderConfig
    presets: ClassVar[Mapping[str, ConvAutoencoderConfig]] = {
        # 39,742,531 parameters: CelebA in the appendix of the Wasserstein autoencoder.
        "wae64": ConvAutoencoderConfig(),
        # 2,104,347 parameters, 2,128,987 with a stochastic encoder.
        "wae32": ConvAutoencoderConfig(
            image_size=32, encoder_channels=(32, 64, 96, 96), decoder_channels=(288, 144, 72, 24)
        ),
        # 2,104,345 parameters, 2,112,545 with a stochastic encoder.
        "wae28": ConvAutoencoderConfig(
            image_size=28, channels=1, latent_dim=8,
            encoder_channels=(32, 64, 128, 256), decoder_channels=(384, 80, 40),
        ),
        # 74,245 parameters, 74,509 with a stochastic encoder.
        "wae8": ConvAutoencoderConfig(
            image_size=8, channels=1, latent_dim=8,
            encoder_channels=(16, 24, 32), decoder_channels=(52, 26, 13),
        ),
    }  # fmt: skip
    config: ConvAutoencoderConfig

    def __init__(self, config: ConvAutoencoderConfig, engine: Engine | None = None) -> None:
        super().__init__(config, engine)
        kernel = config.kernel_size
        layers: list[nn.Module] = []
        before, size = config.channels, config.image_size
        for width in config.encoder_channels:
            conv = nn.Conv2d(before, width, kernel, 2, kernel // 2)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            before, size = width, (size + 1) // 2
        features = before * size**2
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.mean = nn.Linear(features, config.latent_dim)
        self.log_variance = nn.Linear(features, config.latent_dim) if config.stochastic else None
        before, *widths = config.decoder_channels
        size = config.image_size // 2 ** len(widths)
        first = nn.Linear(config.latent_dim, before * size**2)
        layers = [first, nn.Unflatten(1, (before, size, size)), nn.ReLU()]
        for width in widths:
            doubling = nn.ConvTranspose2d(before, width, kernel, 2, kernel // 2, output_padding=1)
            layers += [doubling, nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        pixels = nn.Conv2d(before, config.channels, kernel, 1, kernel // 2)
        self.decoder = nn.Sequential(*layers, pixels)
        # Filters, and with them all maps, with channels innermost: up to 1.6 times as fast.
        for filters in (p for p in self.parameters() if p.dim() == 4):
            filters.data = filters.data.contiguous(memory_format=torch.channels_last)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Means and log-variances, (N, D) each, of images' encodings; of points the means only."""
        features = self.encoder(2 * self.checked(x, "images") - 1)
        mean = self._projected(self.mean(features))
        return mean, self.log_variance(features) if self.log_variance else None

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D): means, if it is stochastic."""
        return self._projected(self.mean(self.encoder(2 * self.checked(x, "images") - 1)))

    def logits(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to the logits of images, (N, C, H, W)."""
        return self.decoder(self._projected(self.checked(z, "latents"))).contiguous()

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W) in [0, 1]."""
        return self.logits(z).sigmoid()

    def _projected(self, z: Tensor) -> Tensor:
        if not self.config.spherical:
            return z
        return math.sqrt(self.latent_dim) * F.normalize(z, dim=1)
