"""Reconstruction from the restricted latent space.

Phase 1 of the adversarial-autoencoder training (Schirrmeister et al. 2018, Section 2.2): the
encoding is projected onto the few active dimensions, inverted and compared with the image, and
the encoding is drawn towards its own projection.
"""

from collections.abc import Callable

from torch import Tensor

__all__ = ["clamp_penalty", "clamped_reconstruction_loss"]


def clamped_reconstruction_loss(
    x: Tensor, z_clamped: Tensor, decode: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean absolute error (L1) of the image decoded from the clamped encoding.

    Args:
        x: images (N, C, H, W).
        z_clamped: their encodings after ``prior.clamp``, (N, D).
        decode: inverse of the encoder, (N, D) to (N, C, H, W).

    Returns:
        Scalar tensor.
    """
    return (decode(z_clamped) - x).abs().mean()


def clamp_penalty(z: Tensor, z_clamped: Tensor) -> Tensor:
    """Mean squared distance (L2) of encodings to their projection onto the restricted space.

    Args:
        z: encodings (N, D).
        z_clamped: ``prior.clamp(z)``, (N, D).

    Returns:
        Scalar tensor, 0 when every encoding lies in the restricted space.
    """
    return (z - z_clamped).square().mean()
