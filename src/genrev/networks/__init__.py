"""Networks without a prior: RevNets, their presets, and discriminators."""

from genrev.networks.discriminator import CReLU, LatentDiscriminator
from genrev.networks.image_discriminator import ImageDiscriminator
from genrev.networks.presets import PRESETS, revnet, revnet_config
from genrev.networks.revnet import Init, RevNet, RevNetConfig
from genrev.networks.wae_discriminator import WAEDiscriminator

__all__ = [
    "PRESETS",
    "CReLU",
    "ImageDiscriminator",
    "Init",
    "LatentDiscriminator",
    "RevNet",
    "RevNetConfig",
    "WAEDiscriminator",
    "revnet",
    "revnet_config",
]
