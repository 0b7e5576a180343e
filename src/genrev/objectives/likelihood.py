r"""Densities: maximum likelihood by change of variables, and classification by Bayes' rule.

A bijection z = h(x) and a density p of latents make a density of images,

.. math:: \log q(x) = \log p(h(x)) + \log |\det h'(x)| .

**Dequantisation.** Pixels are whole numbers, on which a density could become infinite. With noise
u, uniform on [0, 1), :math:`x = (k + u) / 256` is continuous, and by Jensen's inequality its
density bounds the probability P(k) of the 8-bit image from below:

.. math:: \log_2 P(k) \ge E_u \log_2 q(x) - 8 D .

**Bits per dimension** are :math:`-(\log_2 q(x) - 8 D) / D`: what an ideal code would spend on each
of the D numbers of an image, at most. A uniform density on [0, 1] needs 8.

**Classes.** With one axis-aligned Gaussian :math:`p(z | c)` per class and equally frequent classes,
every encoding has a posterior over the classes,

.. math:: P(c | z) = \frac{p(z | c)}{\sum_{c'} p(z | c')} ,

so a class-conditional prior classifies without any further network. Its cross-entropy at labelled
encodings places the Gaussians apart where labels are few. Standard deviations count as 0.1 or more,
or a dimension out of use, whose learned one may be 0, would outvote all others by rounding errors.

References: Dinh et al., "NICE" (2015), Sections 3 and 5.1; Dinh et al., "Density estimation using
Real NVP" (2017); Theis et al., "A note on the evaluation of generative models" (2016), Section 3.1.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 256


def dequantise(
    pixels: Tensor, generator: torch.Generator | None = None, within: Tensor | None = None
) -> Tensor:
    """Spread whole pixels evenly over their cells, which k / 255 lies in too: float32 in [0, 1).

    Args:
        pixels: whole numbers from 0 to 255, of any dtype and shape.
        generator: source of the noise, on the CPU.
        within: places within the cells in [0, 1), like pixels; drawn anew if ``None``.

    Example:
        >>> x = dequantise(torch.full((5, 1, 2, 2), 255), torch.Generator().manual_seed(0))
        >>> bool((x >= 255 / 256).all()), bool((x < 1).all())
        (True, True)
    """
    if within is None:
        within = within_cells(pixels.shape, generator).to(pixels.device)
    return (pixels.float() + within) / LEVELS


def whole_pixels(images: Tensor) -> Tensor:
    """The uint8 pixels of images in [0, 1], exactly."""
    return (images * (LEVELS - 1)).round().to(torch.uint8)


def within_cells(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Places drawn evenly from [0, 1), float32 of that shape, on the CPU."""
    # In steps of 2^-16: the sum with a pixel is exact in float32, and stays below the next one.
    return torch.randint(0, 2**16, shape, generator=generator).float() / 2**16


def bits_per_dim(log_prob: Tensor, dim: int) -> Tensor:
    """Bits per dimension of 8-bit images, (N,).

    Args:
        log_prob: natural log-densities of dequantised images in [0, 1], (N,).
        dim: number D of pixels times channels.

    Example:
        >>> bits_per_dim(torch.zeros(1), 784)  # uniform on [0, 1]
        tensor([8.])
    """
    return math.log2(LEVELS) - log_prob / (dim * math.log(2))


def posterior_loss(z: Tensor, means: Tensor, stds: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the posterior at encodings of known class, in nats.

    Args:
        z: active dimensions (N, k).
        means, stds: of the classes, (K, k).
        labels: classes (N,).
    """
    return F.cross_entropy(class_log_probs(z, means, stds), labels)


def class_log_probs(z: Tensor, means: Tensor, stds: Tensor, smallest_std: float = 0.1) -> Tensor:
    """Natural log-densities (N, K) of points under axis-aligned Gaussians.

    Their softmax over the classes is the posterior of equally frequent ones.

    Args:
        z: active dimensions of encodings, (N, k).
        means, stds: of the classes, (K, k); standard deviations are 0 or more.
        smallest_std: standard deviations below count as this.

    Example:
        >>> z, means = torch.tensor([[1.0]]), torch.tensor([[0.0], [4.0]])
        >>> class_log_probs(z, means, torch.ones(2, 1)).softmax(1).round(decimals=3)
        tensor([[0.9820, 0.0180]])
    """
    stds = stds.clamp(min=smallest_std)
    standard = (z.unsqueeze(1) - means) / stds  # (N, K, k)
    constant = stds.log().sum(1) + 0.5 * math.log(2 * math.pi) * z.shape[1]  # (K,)
    return -0.5 * standard.square().sum(2) - constant
