"""Networks and complete generative models."""

from genrev.models.conv_autoencoder import ConvAutoencoderConfig, GenerativeConvAutoencoder
from genrev.models.conv_presets import CONV_PRESETS, conv_autoencoder_config
from genrev.models.generative import GenerativeRevNet
from genrev.models.hub import load, save, shipped_models
from genrev.models.likelihood import log_density, require_density
from genrev.models.module import GenerativeModule
from genrev.models.protocol import GenerativeAutoencoder, Prior

__all__ = [
    "CONV_PRESETS",
    "ConvAutoencoderConfig",
    "GenerativeAutoencoder",
    "GenerativeConvAutoencoder",
    "GenerativeModule",
    "GenerativeRevNet",
    "Prior",
    "conv_autoencoder_config",
    "load",
    "log_density",
    "require_density",
    "save",
    "shipped_models",
]
