"""Networks and complete generative models."""

from genrev.models.discriminator import CReLU, LatentDiscriminator
from genrev.models.generative import GenerativeRevNet
from genrev.models.hub import load, save, shipped_models
from genrev.models.image_discriminator import ImageDiscriminator
from genrev.models.likelihood import log_density, require_density
from genrev.models.module import GenerativeModule
from genrev.models.presets import PRESETS, revnet, revnet_config
from genrev.models.protocol import GenerativeAutoencoder, Prior
from genrev.models.revnet import RevNet, RevNetConfig

__all__ = [
    "PRESETS",
    "CReLU",
    "GenerativeAutoencoder",
    "GenerativeModule",
    "GenerativeRevNet",
    "ImageDiscriminator",
    "LatentDiscriminator",
    "Prior",
    "RevNet",
    "RevNetConfig",
    "load",
    "log_density",
    "require_density",
    "revnet",
    "revnet_config",
    "save",
    "shipped_models",
]
