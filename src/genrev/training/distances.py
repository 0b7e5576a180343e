"""Adversary-free distances between encodings and samples of the prior, by name."""

from collections.abc import Callable

import torch
from torch import Tensor

from genrev.objectives import (
    debiased_transport_loss,
    imq_kernel,
    mmd,
    rbf_kernel,
    sliced_wasserstein,
)

__all__ = ["PAIRED", "latent_distance"]

PAIRED = ("transport", "sliced")
"""Distances that need as many samples as encodings."""

_KERNELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mmd-rbf": rbf_kernel,
    "mmd-imq": imq_kernel,
}


def latent_distance(
    name: str, z: Tensor, samples: Tensor, std: float, generator: torch.Generator
) -> Tensor:
    """Distance between two sets of points of the restricted latent space.

    Args:
        name: ``transport`` (debiased, exact), ``sliced``, ``mmd-rbf`` or ``mmd-imq``.
        z: encodings (n, k), in random order.
        samples: of the prior, (m, k), in random order.
        std: standard deviation of the prior in every dimension, to which the kernels' widths are
            proportional.
        generator: of the random directions, on the CPU.

    Returns:
        Scalar tensor. Its scale differs from distance to distance.

    Raises:
        KeyError: no distance of that name.
    """
    if name == "transport":
        return debiased_transport_loss(z, samples)
    if name == "sliced":
        return sliced_wasserstein(z, samples, generator=generator)
    return mmd(z / std, samples / std, _KERNELS[name])
