"""Reconstruction from the restricted latent space.

Phase 1 of the adversarial-autoencoder training (Schirrmeister et al. 2018, Section 2.2): the
encoding is projected onto the few active dimensions, inverted and compared with the image, and
the encoding is drawn towards its own projection.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from genrev.reversible import LumaChroma

__all__ = ["Colours", "clamp_penalty", "clamped_reconstruction_loss"]

Colours = Literal["rgb", "luma-chroma"]
"""The colours in which a reconstruction is compared, see ``clamped_reconstruction_loss``."""


def clamped_reconstruction_loss(
    x: Tensor,
    z_clamped: Tensor,
    decode: Callable[[Tensor], Tensor],
    colours: Colours = "rgb",
) -> Tensor:
    """Mean absolute error (L1) of the image decoded from the clamped encoding.

    In red, green and blue the error of a pixel is mostly one of brightness. Noise of colour on top
    of it costs nothing while it is the smaller of the two: what it adds to the error of one
    colour it takes from another's. Measured by itself, the error of colour counts.

    Args:
        x: images (N, C, H, W).
        z_clamped: their encodings after ``prior.clamp``, (N, D).
        decode: inverse of the encoder, (N, D) to (N, C, H, W).
        colours: ``"rgb"`` compares pixels as they are, as in the paper. ``"luma-chroma"``, for
            C = 3, adds the error of the brightness and half of those of two differences of
            colours, see ``genrev.reversible.LumaChroma``.

    Returns:
        Scalar tensor; of grey images both ``colours`` are the same.
    """
    error = decode(z_clamped) - x
    if colours == "rgb":
        return error.abs().mean()
    orange, green, luma = LumaChroma()(error).abs().mean((0, 2, 3))
    return luma + (orange + green) / 2


def clamp_penalty(z: Tensor, z_clamped: Tensor) -> Tensor:
    """Mean squared distance (L2) of encodings to their projection onto the restricted space.

    Args:
        z: encodings (N, D).
        z_clamped: ``prior.clamp(z)``, (N, D).

    Returns:
        Scalar tensor, 0 when every encoding lies in the restricted space.
    """
    return (z - z_clamped).square().mean()
