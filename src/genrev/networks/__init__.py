"""Networks: RevNets and their presets, Jet, discriminators, and flows of vectors with a prior."""

from genrev.networks.conv_autoencoder import ConvAutoencoder, ConvAutoencoderConfig
from genrev.networks.discriminators import (
    CReLU,
    ImageDiscriminator,
    LatentDiscriminator,
    PairDiscriminator,
    WAEDiscriminator,
)
from genrev.networks.jet import Jet, JetConfig
from genrev.networks.network import NETWORKS, Network
from genrev.networks.revnet import PRESETS, Init, RevNet, RevNetConfig, revnet, revnet_config
from genrev.networks.vector_flow import VectorFlow, VectorFlowConfig
