r"""Kernel distance: the squared maximum mean discrepancy with a cubic polynomial kernel.

.. math:: \mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2\,E\,k(x, y), \qquad
          k(x, y) = \bigl( x \cdot y / d + 1 \bigr)^3 .

Leaving the pairs of an image with itself out makes the estimate unbiased for every sample size,
which the Fréchet distance is not; the price is that it may come out slightly negative when both
distributions are equal. The kernel is averaged over random subsets as in the paper.

**Standard error.** Subsets of m out of N images overlap, so the spread of their values divided
by the root of their number is too optimistic. Subsampling without replacement is the delete-d
jackknife: with s the standard deviation over subsets and r = m / N, the variance of the whole
sample's estimate is s² r / (1 - r), and drawing only S subsets adds s² / S. The number returned
is the root of the sum. It is right for distributions that differ and too large, never too small,
for equal ones, where the error shrinks faster than 1 / √N.

References: Bińkowski et al., "Demystifying MMD GANs" (2018); Gretton et al., "A kernel two-sample
test" (2012); Shao and Wu, "A general theory for jackknife variance estimation" (1989).
"""

import math

import torch
from torch import Tensor

__all__ = ["kernel_distance"]


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    subsets: int = 100,
    subset_size: int = 1000,
    generator: torch.Generator | None = None,
) -> tuple[float, float]:
    """Unbiased squared MMD with the cubic polynomial kernel, averaged over random subsets.

    Args:
        real: features of the reference images, shape (N, D).
        fake: features of the samples, shape (M, D).
        subsets: number S of pairs of subsets, at least 2.
        subset_size: number m of images in each, at least 2 and less than N and M.
        generator: chooses the subsets, on the CPU.

    Returns:
        The estimate and its standard error (see the module's text), as they are; FID-like tables
        often print them times 1000.

    Raises:
        ValueError: shapes or sizes that do not fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> real, fake = torch.randn(2, 500, 8, generator=generator)
        >>> estimate, error = kernel_distance(real, fake, 20, 100, generator)
        >>> abs(estimate) < 3 * error
        True
    """
    if real.dim() != 2 or fake.dim() != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must be (N, D) and (M, D), got {tuple(real.shape)} and {tuple(fake.shape)}."
        )
    smaller = min(len(real), len(fake))
    if subsets < 2 or not 2 <= subset_size < smaller:
        raise ValueError(
            f"{subsets} subsets of {subset_size} images: there must be at least 2 subsets, of 2 "
            f"to {smaller - 1} images."
        )
    values = torch.stack(
        [
            _unbiased_squared_mmd(
                _subset(real, subset_size, generator), _subset(fake, subset_size, generator)
            )
            for _ in range(subsets)
        ]
    )
    ratio = subset_size / smaller
    factor = math.sqrt(1 / subsets + ratio / (1 - ratio))
    return float(values.mean()), float(values.std()) * factor


def _subset(features: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    chosen = torch.randperm(len(features), generator=generator)[:size]
    return features[chosen.to(features.device)].double()


def _unbiased_squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Both of shape (m, D)."""
    m = len(x)
    within = _kernel(x, x) + _kernel(y, y)  # (m, m)
    off_diagonal = within.sum() - within.trace()
    return off_diagonal / (m * (m - 1)) - 2 * _kernel(x, y).mean()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
