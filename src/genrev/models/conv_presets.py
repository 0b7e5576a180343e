"""Named convolutional autoencoders: the Wasserstein autoencoder's, and small ones to compare with.

The small ones have as many parameters as a preset RevNet for the same images: within 1 % for
``wae32`` (``faces32``) and ``wae28`` (``mnist``), within 2 % for ``wae8`` (``digits``), whether
the encoder is stochastic or not. They spend them on small maps, so that a training step takes about
as long as the RevNet's.
"""

from dataclasses import replace

from genrev.errors import GenrevError
from genrev.models.conv_autoencoder import ConvAutoencoderConfig

__all__ = ["CONV_PRESETS", "conv_autoencoder_config"]

CONV_PRESETS: dict[str, ConvAutoencoderConfig] = {
    # 39,742,531 parameters: CelebA in the appendix of the Wasserstein autoencoder.
    "wae64": ConvAutoencoderConfig(
        image_size=64,
        channels=3,
        latent_dim=64,
        encoder_channels=(128, 256, 512, 1024),
        decoder_channels=(1024, 512, 256, 128),
    ),
    # 2,104,347 parameters, 2,128,987 with a stochastic encoder.
    "wae32": ConvAutoencoderConfig(
        image_size=32,
        channels=3,
        latent_dim=64,
        encoder_channels=(32, 64, 96, 96),
        decoder_channels=(288, 144, 72, 24),
    ),
    # 2,104,345 parameters, 2,112,545 with a stochastic encoder.
    "wae28": ConvAutoencoderConfig(
        image_size=28,
        channels=1,
        latent_dim=8,
        encoder_channels=(32, 64, 128, 256),
        decoder_channels=(384, 80, 40),
    ),
    # 74,245 parameters, 74,509 with a stochastic encoder.
    "wae8": ConvAutoencoderConfig(
        image_size=8,
        channels=1,
        latent_dim=8,
        encoder_channels=(16, 24, 32),
        decoder_channels=(52, 26, 13),
    ),
}


def conv_autoencoder_config(preset: str, *, stochastic: bool = False) -> ConvAutoencoderConfig:
    """Configuration of a preset.

    Raises:
        GenrevError: no preset of that name.

    Example:
        >>> conv_autoencoder_config("wae28").image_shape
        (1, 28, 28)
    """
    if preset not in CONV_PRESETS:
        raise GenrevError(
            f"No convolutional autoencoder is called {preset!r}; choose from "
            f"{', '.join(CONV_PRESETS)}."
        )
    return replace(CONV_PRESETS[preset], stochastic=stochastic)
