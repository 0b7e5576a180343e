r"""Squared maximum mean discrepancy between encodings and samples of the prior.

.. math:: \mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2\,E\,k(x, y)

with x, x' and y, y' independent draws of the two distributions. Without the pairs of a point with
itself the estimate is unbiased: between two samples of *one* distribution it is zero on average and
as often negative. With them it is the squared distance of mean embeddings, never negative.

**Scale.** A kernel sees differences at distances of about its own width. Two samples of a prior
with standard deviation :math:`\sigma` in each of d dimensions lie

.. math:: E \, \lVert s - s' \rVert^2 = 2 d \sigma^2

apart, up to a fraction of :math:`\sqrt{2/d}` (18 % for d = 64), so both kernels are sums over
widths around that number. With a width taken from the batch, every step would have another loss.

References: Gretton et al., "A kernel two-sample test" (2012); Tolstikhin et al., "Wasserstein
auto-encoders" (2018), for the inverse multiquadratic kernel and its scales.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_IMQ_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_RBF_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd(
    x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor], biased: bool = False
) -> Tensor:
    """Squared maximum mean discrepancy between two samples, differentiable once.

    Args:
        x, y: points (n, d) and (m, d).
        kernel: points (a, d) and (b, d) to their kernel matrix (a, b), such as
            ``functools.partial(imq_kernel, scales=[1.0])``; only numbers of one kernel compare.
        biased: keep the pairs of a point with itself; without them it takes two points of each.

    Raises:
        ValueError: points of different dimension, or too few.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> s, t = torch.randn(2, 300, 64, generator=generator)
        >>> bool(mmd(s, t, imq_kernel).abs() < 0.01 < mmd(s, t + 0.5, imq_kernel))
        True
    """
    if x.dim() != 2 or y.dim() != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(
            f"mmd takes points (n, d) and (m, d) and got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    fewest = 1 if biased else 2
    if min(len(x), len(y)) < fewest:
        raise ValueError(
            f"This estimate of the mmd needs {fewest} or more points of each and got "
            f"{len(x)} and {len(y)}."
        )
    means = []
    for points in (x, y):
        within, n = kernel(points, points), len(points)  # (n, n)
        means.append(
            within.mean() if biased else (within.sum() - within.diagonal().sum()) / (n * (n - 1))
        )
    return means[0] + means[1] - 2 * kernel(x, y).mean()


def imq_kernel(
    x: Tensor, y: Tensor, scales: Sequence[float] = _IMQ_SCALES, sigma: float = 1.0
) -> Tensor:
    r"""Inverse multiquadratic kernel :math:`\sum_s C_s / (C_s + |x - y|^2)`.

    With :math:`C_s = 2 d \sigma^2 s` and the default scales s this is the kernel of Wasserstein
    auto-encoders. Its tails are heavy, so encodings far from the prior still feel a pull. The
    matrix (n, m) has values from 0 to the number of scales.

    Args:
        x, y: points (n, d) and (m, d).
        scales: widths relative to the typical squared distance between two samples of the prior.
        sigma: standard deviation of the prior per dimension; 1 for the standard normal, the root
            of 4/3 for the uniform one on -2 to 2.
    """
    squared = _squared_distances(x, y)  # (n, m)
    widths = [2 * x.shape[1] * sigma**2 * scale for scale in scales]
    return torch.stack([c / (c + squared) for c in widths]).sum(0)


def rbf_kernel(x: Tensor, y: Tensor, bandwidths: Sequence[float] | None = None) -> Tensor:
    r"""Gaussian kernel :math:`\sum_h \exp(-|x - y|^2 / 2 h^2)`.

    The default fits the standard normal prior: :math:`2 h^2 = 2 d s` for s = 1/4, 1/2, 1, 2, 4, so
    at the typical distance the terms are exp(-1/s), from 0.02 to 0.78. The range is narrower than
    the other kernel's: at s = 1/10 points count 5e-5 and have no gradient, at s = 10 only means.

    Args:
        x, y: points (n, d) and (m, d).
        bandwidths: lengths h, in the units of the points. Scale the default ones,
            :math:`\sqrt{d s}`, by the prior's standard deviation when that is not 1.
    """
    squared = _squared_distances(x, y)  # (n, m)
    if bandwidths is None:
        bandwidths = [math.sqrt(x.shape[1] * scale) for scale in _RBF_SCALES]
    return torch.stack([(-squared / (2 * h**2)).exp() for h in bandwidths]).sum(0)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared Euclidean distances (n, m), from differences: x·x - 2 x·y + y·y cancels far out."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
