r"""How far samples are from images, by the distributions of their features.

**Fréchet distance.** Of two Gaussians the (squared) Fréchet or 2-Wasserstein distance is

.. math:: d^2 = |\mu_1 - \mu_2|^2 + \mathrm{tr}\, C_1 + \mathrm{tr}\, C_2
          - 2\, \mathrm{tr} \bigl( C_1^{1/2} C_2 C_1^{1/2} \bigr)^{1/2} .

Of an Inception network's features it is FID, by custom squared too. The usual matrix square root of
:math:`C_1 C_2` needs complex numbers and fails for singular covariances (fewer images than
features); the form above has the same trace and needs symmetric matrices only.

**Kernel distance**, the squared maximum mean discrepancy with a cubic polynomial kernel, averaged
over random subsets as in the paper:

.. math:: \mathrm{MMD}^2 = E\,k(x, x') + E\,k(y, y') - 2\,E\,k(x, y), \qquad
          k(x, y) = \bigl( x \cdot y / d + 1 \bigr)^3 .

Leaving the pairs of an image with itself out makes the estimate unbiased for every sample size,
which the Fréchet distance is not; it may come out slightly negative for equal distributions.

**Its standard error.** Subsets of m out of N images overlap, so it is that of the delete-d
jackknife: with s the standard deviation over subsets and r = m / N, the variance of the whole
sample's estimate is s² r / (1 - r), and drawing only S subsets adds s² / S. The root of the sum is
right for distributions that differ, and too large for equal ones.

References: Dowson and Landau, "The Fréchet distance between multivariate normal distributions"
(1982); Heusel et al., "GANs trained by a two time-scale update rule" (2017); Bińkowski et al.,
"Demystifying MMD GANs" (2018); Gretton et al., "A kernel two-sample test" (2012); Shao and Wu,
"A general theory for jackknife variance estimation" (1989).
"""

import math

import torch
from torch import Tensor

from genrev.evaluation.features.reference import FeatureStatistics, check_features
from genrev.evaluation.metric import Column, EvaluationRun, Lines, Metric, Numbers

_SUBSETS, _SUBSET_SIZE = 100, 1000


class Frechet(Metric):
    """``frechet_distance`` of all samples from all reference images."""

    sampled = of_features = True
    columns = (Column("distance", "Fréchet, `{features}`", ".2f", csv="frechet"),)

    def measure(self, run: EvaluationRun) -> Numbers:
        real, fake = (FeatureStatistics.of(f) for f in (run.real_features, run.fake_features))
        distance = frechet_distance(real.mean, real.covariance, fake.mean, fake.covariance)
        return {"distance": distance, **run.provenance(run.n, real.count, run.extractor)}

    def lines(self, values: Numbers) -> Lines:
        yield f"Fréchet distance, {values['features']}", f"{values['distance']:.3f}"


class KernelDistance(Metric):
    """``kernel_distance`` with 100 subsets of at most 1,000 images."""

    sampled = of_features = True
    # Distances are hundreds in some features and thousandths in others.
    columns = (Column("estimate", "KID", ".3g", ".2g", csv="kid"),)
    note = "KID is the squared kernel distance"

    def measure(self, run: EvaluationRun) -> Numbers:
        real, fake = run.real_features, run.fake_features
        size = min(_SUBSET_SIZE, min(len(real), len(fake)) // 2)
        generator = torch.Generator().manual_seed(run.seed)
        estimate, error = kernel_distance(real, fake, _SUBSETS, size, generator)
        numbers = {"estimate": estimate, "standard_error": error}
        numbers |= {"subsets": _SUBSETS, "subset_size": size}
        return numbers | run.provenance(run.n, len(real), run.extractor)

    def lines(self, values: Numbers) -> Lines:
        number = f"{values['estimate']:.3e} ± {values['standard_error']:.1e}"
        yield f"kernel distance, {values['features']}", number


def frechet_distance(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """Squared Fréchet distance between N(mu1, cov1) and N(mu2, cov2), in float64, at least 0.

    Means are (D,), covariances (D, D), symmetric and positive semi-definite, maybe singular.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Example:
        >>> zero, one = torch.zeros(2), torch.eye(2)
        >>> frechet_distance(zero, one, zero + 3, 4 * one)
        20.0
    """
    (dim,) = mu1.shape
    arrays = [array.detach().to("cpu", torch.float64) for array in (mu1, cov1, mu2, cov2)]
    shapes = [tuple(array.shape) for array in arrays]
    if shapes != [(dim,), (dim, dim)] * 2:
        told = ", ".join(map(str, shapes))
        raise ValueError(f"means (D,) and covariances (D, D) must agree and have shapes {told}.")
    if not all(array.isfinite().all() for array in arrays):
        raise ValueError("means and covariances must be finite.")
    mean1, c1, mean2, c2 = arrays
    c1, c2 = (c1 + c1.T) / 2, (c2 + c2.T) / 2
    values, vectors = torch.linalg.eigh(c1)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    eigenvalues = torch.linalg.eigvalsh(root @ c2 @ root)
    overlap = eigenvalues.clamp(min=0).sqrt().sum()  # tr (C1^1/2 C2 C1^1/2)^1/2
    distance = (mean1 - mean2).square().sum() + c1.trace() + c2.trace() - 2 * overlap
    return max(0.0, float(distance))


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
        The estimate and its standard error, which tables often print times 1000.

    Raises:
        ValueError: shapes or sizes that do not fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> real, fake = torch.randn(2, 500, 8, generator=generator)
        >>> estimate, error = kernel_distance(real, fake, 20, 100, generator)
        >>> abs(estimate) < 3 * error
        True
    """
    check_features(real, fake)
    smaller = min(len(real), len(fake))
    if subsets < 2 or not 2 <= subset_size < smaller:
        raise ValueError(
            f"{subsets} subsets of {subset_size} images: there must be at least 2 subsets, of 2 "
            f"to {smaller - 1} images."
        )
    found = []
    for _ in range(subsets):
        chosen = [torch.randperm(len(f), generator=generator)[:subset_size] for f in (real, fake)]
        x, y = (f[c.to(f.device)].double() for f, c in zip((real, fake), chosen, strict=True))
        within = _kernel(x, x) + _kernel(y, y)  # (m, m)
        off_diagonal = within.sum() - within.trace()
        found.append(off_diagonal / (subset_size * (subset_size - 1)) - 2 * _kernel(x, y).mean())
    values = torch.stack(found)
    ratio = subset_size / smaller
    factor = math.sqrt(1 / subsets + ratio / (1 - ratio))
    return float(values.mean()), float(values.std()) * factor


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
