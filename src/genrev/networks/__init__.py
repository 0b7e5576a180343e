"""Networks without a prior: RevNets, their presets, and discriminators."""

from genrev.networks.conv_autoencoder import ConvAutoencoder, ConvAutoencoderConfig
from genrev.networks.discriminator import CReLU, LatentDiscriminator
from genrev.networks.image_discriminator import ImageDiscriminator
from genrev.networks.network import NETWORKS, Network
from genrev.networks.presets import PRESETS, revnet, revnet_config
from genrev.networks.revnet import Init, RevNet, RevNetConfig
from genrev.networks.wae_discriminator import WAEDiscriminator

__all__ = [
    "NETWORKS",
    "PRESETS",
    "CReLU",
    "ConvAutoencoder",
    "ConvAutoencoderConfig",
    "ImageDiscriminator",
    "Init",
    "LatentDiscriminator",
    "Network",
    "RevNet",
    "RevNetConfig",
    "WAEDiscriminator",
    "revnet",
    "revnet_config",
]
