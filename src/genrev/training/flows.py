"""The model of the methods that work with densities: a bijection and a prior in all dimensions."""

from typing import Literal

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeRevNet
from genrev.networks import RevNet
from genrev.objectives import dequantise
from genrev.priors import ActiveGaussian, ActiveLogistic, ClassMoments
from genrev.seeding import noise_generator

__all__ = ["build_flow", "dequantised"]

_PRIORS = {"gaussian": ActiveGaussian, "logistic": ActiveLogistic}
_CHUNK, _MOST = 1000, 10_000  # images that the scaling starts from


def build_flow(
    net: RevNet,
    prior: Literal["gaussian", "logistic"],
    data: ImageData,
    device: torch.device | str = "cpu",
    measure: bool = True,
) -> GenerativeRevNet:
    """An untrained model whose scaling, if it has one, starts from its encodings of the data.

    Without that start, Adam would need thousands of steps to bring the scale of a pixel that is
    always black from 1 to where its dequantisation noise is as wide as the prior.

    Args:
        net: an untrained network.
        prior: density of every latent dimension.
        data: the training images.
        device: where to encode them; the model is on the CPU afterwards.
        measure: whether to encode at all; False for a model that is loaded into next.

    Raises:
        GenrevError: a network with padding.
    """
    if net.config.padding:
        raise GenrevError(
            "A network with padding is not a bijection and has no likelihood; take another "
            "--model.network, such as that of the recipe mnist-nice."
        )
    distribution = _PRIORS[prior](net.config.latent_dim, bound=None)
    if measure and net.scaling is not None:
        moments = _moments(net.to(device), data, device)
        net.cpu()
        std = moments.std[0].float() / distribution.scale()
        net.scaling.initialise_(moments.mean[0].float(), std)
    return GenerativeRevNet(net, distribution, ("all",))


def dequantised(pixels: Tensor, seed: int, step: int, rank: int, ranks: int) -> Tensor:
    """This rank's dequantised images (n, C, H, W) of a global batch of ranks * n; uint8 pixels."""
    n = len(pixels)
    generator = noise_generator(seed, step, "dequantisation")
    # All ranks draw the noise of the global batch, in whose order the loader has dealt it out.
    whole = pixels.new_zeros(ranks * n, *pixels.shape[1:])
    whole[rank * n : (rank + 1) * n] = pixels
    return dequantise(whole, generator)[rank * n : (rank + 1) * n]


@torch.no_grad()
def _moments(net: RevNet, data: ImageData, device: torch.device | str) -> ClassMoments:
    moments = ClassMoments(1, net.config.latent_dim)
    for start in range(0, min(len(data), _MOST), _CHUNK):
        pixels = torch.from_numpy(data.images[start : min(start + _CHUNK, _MOST)].copy())
        x = dequantise(pixels, noise_generator(0, start, "scaling")).to(device)
        moments.update(net.encode(x), torch.zeros(len(x), dtype=torch.int64))
    return moments
