"""Networks and complete generative models."""

from genrev.models.conv_autoencoder import ConvAutoencoderConfig, GenerativeConvAutoencoder
from genrev.models.conv_presets import CONV_PRESETS, conv_autoencoder_config
from genrev.models.discriminator import CReLU, LatentDiscriminator
from genrev.models.generative import GenerativeRevNet
from genrev.models.hub import load, save, shipped_models
from genrev.models.image_discriminator import ImageDiscriminator
from genrev.models.likelihood import log_density, require_density
from genrev.models.module import GenerativeModule
from genrev.models.presets import PRESETS, revnet, revnet_config
from genrev.models.protocol import GenerativeAutoencoder, Prior
from genrev.models.revnet import Init, RevNet, RevNetConfig
from genrev.models.wae_discriminator import WAEDiscriminator

__all__ = [
    "CONV_PRESETS",
    "PRESETS",
    "CReLU",
    "ConvAutoencoderConfig",
    "GenerativeAutoencoder",
    "GenerativeConvAutoencoder",
    "GenerativeModule",
    "GenerativeRevNet",
    "ImageDiscriminator",
    "Init",
    "LatentDiscriminator",
    "Prior",
    "RevNet",
    "RevNetConfig",
    "WAEDiscriminator",
    "conv_autoencoder_config",
    "load",
    "log_density",
    "require_density",
    "revnet",
    "revnet_config",
    "save",
    "shipped_models",
]
