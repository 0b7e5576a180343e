"""Perturbation loss: nearby latents must decode to nearby images.

Optimal transport alone may place encodings anywhere as long as their distribution fits. Decoding a
slightly disturbed encoding and comparing with the image (Schirrmeister et al. 2018, Eq. 6) keeps
the decoder smooth, and makes dimensions that no image needs cheap to give up.
"""

from collections.abc import Callable

from torch import Tensor

__all__ = ["perturbation_loss"]


def perturbation_loss(
    x: Tensor, z: Tensor, noise: Tensor, decode: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean squared plus mean absolute error of the image decoded from ``z + noise``.

    The unperturbed image need not be decoded: the decoder is the encoder's exact inverse, so
    ``decode(z)`` is ``x`` itself, and no gradient is lost since that holds for all parameters.

    Args:
        x: images (N, C, H, W).
        z: their encodings (N, D).
        noise: the perturbation (N, D).
        decode: inverse of the encoder, (N, D) to (N, C, H, W).

    Returns:
        Scalar tensor.
    """
    difference = decode(z + noise) - x
    return difference.square().mean() + difference.abs().mean()
