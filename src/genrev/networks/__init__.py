"""Networks without a prior: RevNets, their presets, and discriminators."""

from genrev.networks.conv_autoencoder import ConvAutoencoder, ConvAutoencoderConfig
from genrev.networks.discriminators import (
    CReLU,
    ImageDiscriminator,
    LatentDiscriminator,
    PairDiscriminator,
    WAEDiscriminator,
)
from genrev.networks.network import NETWORKS, Network
from genrev.networks.revnet import PRESETS, Init, RevNet, RevNetConfig, revnet, revnet_config
