r"""Terms of the variational autoencoder, and of the autoencoders that are compared with it.

The negative evidence lower bound of an image x is

.. math:: -E_{z \sim q(z|x)} \log p(x|z) + \mathrm{KL}(q(z|x) \,\|\, p(z)),

with a Gaussian q of diagonal covariance and a standard normal p. The first term depends on what
the decoder's output means:

* the mean of a Gaussian of variance :math:`\sigma^2` in every pixel: ``squared_error`` divided by
  :math:`2 \sigma^2`, up to a constant;
* the probability that a pixel is white: ``bernoulli_loss``.

A Wasserstein autoencoder's cost is ``squared_error`` itself. All three are **sums** over pixels or
dimensions and means over the batch: with means over pixels the balance of the two terms would
change with the image's size.

References: Kingma and Welling, "Auto-encoding variational Bayes" (2014); Tolstikhin et al.,
"Wasserstein auto-encoders" (2018), whose VAE is Gaussian on CelebA and Bernoulli on MNIST.
"""

from torch import Tensor
from torch.nn import functional as F

__all__ = ["bernoulli_loss", "kl_divergence", "squared_error"]


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of diagonal Gaussians from the standard normal, in nats.

    Args:
        mean: (N, D).
        log_variance: logarithms of the variances, (N, D).

    Returns:
        Scalar tensor, 0 or more: sum over dimensions, mean over the batch.

    Example:
        >>> import torch
        >>> float(kl_divergence(torch.ones(5, 4), torch.zeros(5, 4)))
        2.0
    """
    per_dim = (mean.square() + log_variance.exp() - log_variance - 1) / 2
    return per_dim.sum(1).mean()


def squared_error(x: Tensor, decoded: Tensor) -> Tensor:
    """Squared Euclidean distance of images: sum over pixels, mean over the batch.

    Args:
        x: images (N, C, H, W).
        decoded: images (N, C, H, W).

    Returns:
        Scalar tensor.
    """
    return (decoded - x).square().flatten(1).sum(1).mean()


def bernoulli_loss(x: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of images: sum over pixels, mean over the batch.

    Args:
        x: images (N, C, H, W) in [0, 1]; for grey pixels the smallest value is above 0.
        logits: of the decoder's probabilities, (N, C, H, W).

    Returns:
        Scalar tensor, 0 or more.
    """
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
