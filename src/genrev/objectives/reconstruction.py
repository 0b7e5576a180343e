r"""Losses between images and what is decoded for them, and the divergence of variational ones.

**Of the paper** (Schirrmeister et al. 2018): the encoding is projected onto the few active
dimensions, inverted and compared with the image, and drawn towards its projection (Section 2.2); or
it is disturbed a little (Eq. 6), which keeps the decoder smooth and unneeded dimensions cheap.

**Of the variational autoencoder**, whose negative evidence lower bound of an image x is

.. math:: -E_{z \sim q(z|x)} \log p(x|z) + \mathrm{KL}(q(z|x) \,\|\, p(z)),

with a Gaussian q of diagonal covariance and a standard normal p. The decoder's output is the mean
of a Gaussian of variance :math:`\sigma^2` in every pixel (``squared_error`` divided by
:math:`2 \sigma^2`, up to a constant), or the probability that a pixel is white
(``bernoulli_loss``). A Wasserstein autoencoder's cost is ``squared_error`` itself. These are
**sums** over pixels or dimensions, or the balance of the terms would change with the image's size.

References: Kingma and Welling, "Auto-encoding variational Bayes" (2014); Tolstikhin et al.,
"Wasserstein auto-encoders" (2018), whose VAE is Gaussian on CelebA and Bernoulli on MNIST.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from genrev.reversible import LumaChroma

Colours = Literal["rgb", "luma-chroma"]
"""The colours in which a reconstruction is compared, see ``clamped_reconstruction_loss``."""


def clamped_reconstruction_loss(
    x: Tensor, z_clamped: Tensor, decode: Callable[[Tensor], Tensor], colours: Colours = "rgb"
) -> Tensor:
    """Mean absolute error (L1) of the image decoded from the clamped encoding.

    In red, green and blue the error of a pixel is mostly one of brightness, and noise of colour on
    top costs nothing, for what it adds to one colour's error it takes from another's.

    Args:
        x: images (N, C, H, W).
        z_clamped: their encodings after ``prior.clamp``, (N, D).
        decode: inverse of the encoder, (N, D) to (N, C, H, W).
        colours: ``"rgb"`` compares pixels as they are, as in the paper. ``"luma-chroma"``, for
            C = 3, adds the error of the brightness and half of those of two differences of
            colours, see ``genrev.reversible.LumaChroma``; of grey images both are the same.
    """
    error = decode(z_clamped) - x
    if colours == "rgb":
        return error.abs().mean()
    orange, green, luma = LumaChroma()(error).abs().mean((0, 2, 3))
    return luma + (orange + green) / 2


def clamp_penalty(z: Tensor, z_clamped: Tensor) -> Tensor:
    """Mean squared distance (L2) of encodings (N, D) to their projections ``prior.clamp(z)``."""
    return (z - z_clamped).square().mean()


def perturbation_loss(
    x: Tensor, z: Tensor, noise: Tensor, decode: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean squared plus mean absolute error of the image decoded from ``z + noise``.

    ``decode(z)`` is ``x`` itself for all parameters, so no gradient is lost by leaving it out.

    Args:
        x: images (N, C, H, W).
        z, noise: their encodings, and the perturbation, (N, D).
        decode: inverse of the encoder, (N, D) to (N, C, H, W).
    """
    difference = decode(z + noise) - x
    return difference.square().mean() + difference.abs().mean()


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of diagonal Gaussians from the standard normal, in nats.

    Means and logarithms of variances are (N, D): sum over dimensions, mean over the batch.

    Example:
        >>> import torch
        >>> float(kl_divergence(torch.ones(5, 4), torch.zeros(5, 4)))
        2.0
    """
    per_dim = (mean.square() + log_variance.exp() - log_variance - 1) / 2
    return per_dim.sum(1).mean()


def squared_error(x: Tensor, decoded: Tensor) -> Tensor:
    """Squared Euclidean distance of images (N, C, H, W): sum over pixels, mean over the batch."""
    return (decoded - x).square().flatten(1).sum(1).mean()


def bernoulli_loss(x: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of images: sum over pixels, mean over the batch.

    Args:
        x: images (N, C, H, W) in [0, 1]; for grey pixels the smallest value is above 0.
        logits: of the decoder's probabilities, (N, C, H, W).
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
