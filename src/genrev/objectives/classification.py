r"""Classification by class-conditional Gaussians of encodings.

With one axis-aligned Gaussian :math:`p(z | c)` per class and equally frequent classes, Bayes' rule
gives every encoding a posterior over the classes,

.. math:: P(c | z) = \frac{p(z | c)}{\sum_{c'} p(z | c')} ,

so a generative model with a class-conditional prior classifies without any further network. The
posterior loss is the cross-entropy of the posterior at labelled encodings; it places the Gaussians
apart where few labels are to tell classes from each other.

A learned standard deviation may become 0 where a dimension is out of use. Densities are computed
with at least ``smallest_std``, or such a dimension would outvote all others by rounding errors.
"""

import math

from torch import Tensor
from torch.nn import functional as F

__all__ = ["class_log_densities", "posterior_loss"]


def class_log_densities(
    z: Tensor, means: Tensor, stds: Tensor, smallest_std: float = 0.1
) -> Tensor:
    """Log-density of every point under every class.

    Args:
        z: active dimensions of encodings, (N, k).
        means: of the classes, (K, k).
        stds: of the classes, 0 or more, (K, k).
        smallest_std: standard deviations below count as this.

    Returns:
        Natural log-densities (N, K); their softmax over the classes is the posterior.

    Example:
        >>> import torch
        >>> means = torch.tensor([[0.0], [4.0]])
        >>> densities = class_log_densities(torch.tensor([[1.0]]), means, torch.ones(2, 1))
        >>> densities.softmax(1).round(decimals=3)
        tensor([[0.9820, 0.0180]])
    """
    stds = stds.clamp(min=smallest_std)
    standard = (z.unsqueeze(1) - means) / stds  # (N, K, k)
    constant = stds.log().sum(1) + 0.5 * math.log(2 * math.pi) * z.shape[1]  # (K,)
    return -0.5 * standard.square().sum(2) - constant


def posterior_loss(z: Tensor, means: Tensor, stds: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the posterior at encodings of known class.

    Args:
        z: active dimensions (N, k).
        means: of the classes, (K, k).
        stds: of the classes, (K, k).
        labels: classes (N,).

    Returns:
        Scalar tensor, 0 or more, in nats; log K for Gaussians that tell nothing.
    """
    return F.cross_entropy(class_log_densities(z, means, stds), labels)
