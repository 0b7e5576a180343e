r"""Fréchet distance between Gaussians, and the statistics it is computed from.

Of two Gaussians the (squared) Fréchet or 2-Wasserstein distance is

.. math:: d^2 = |\mu_1 - \mu_2|^2 + \mathrm{tr}\, C_1 + \mathrm{tr}\, C_2
          - 2\, \mathrm{tr} \bigl( C_1^{1/2} C_2 C_1^{1/2} \bigr)^{1/2} .

With mean and covariance of an Inception network's features it is FID, which by custom is the
squared distance too. The usual implementation takes the matrix square root of :math:`C_1 C_2`,
which is not symmetric: it needs complex numbers and fails for singular covariances (fewer images
than features). The symmetric form above has the same trace and needs eigenvalues of symmetric
matrices only, all of them real and non-negative up to rounding.

References: Dowson and Landau, "The Fréchet distance between multivariate normal distributions"
(1982); Heusel et al., "GANs trained by a two time-scale update rule" (2017).
"""

from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ["FeatureStatistics", "frechet_distance"]


def frechet_distance(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """Squared Fréchet distance between N(mu1, cov1) and N(mu2, cov2), in float64.

    Args:
        mu1: mean, shape (D,).
        cov1: covariance, shape (D, D), symmetric and positive semi-definite, maybe singular.
        mu2: mean, shape (D,).
        cov2: covariance, shape (D, D).

    Returns:
        The squared distance, at least 0.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Example:
        >>> zero, one = torch.zeros(2), torch.eye(2)
        >>> frechet_distance(zero, one, zero + 3, 4 * one)
        20.0
    """
    (dim,) = mu1.shape
    expected = ((dim,), (dim, dim), (dim,), (dim, dim))
    arrays = [array.detach().to("cpu", torch.float64) for array in (mu1, cov1, mu2, cov2)]
    if tuple(tuple(array.shape) for array in arrays) != expected:
        shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
        raise ValueError(f"means (D,) and covariances (D, D) must agree and have shapes {shapes}.")
    if not all(array.isfinite().all() for array in arrays):
        raise ValueError("means and covariances must be finite.")
    mean1, c1, mean2, c2 = arrays
    root = _symmetric_root(c1)
    eigenvalues = torch.linalg.eigvalsh(root @ _symmetric(c2) @ root)
    overlap = eigenvalues.clamp(min=0).sqrt().sum()  # tr (C1^1/2 C2 C1^1/2)^1/2
    distance = (mean1 - mean2).square().sum() + c1.trace() + c2.trace() - 2 * overlap
    return max(0.0, float(distance))


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2


def _symmetric_root(matrix: Tensor) -> Tensor:
    """Square root of a symmetric positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(_symmetric(matrix))
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


class FeatureStatistics:
    """Mean and covariance of features that arrive in batches, in float64 on the CPU.

    Batches and whole statistics are merged by the parallel update of Chan et al. ("Updating
    formulae and a pairwise algorithm for computing sample variances", 1979): means are shifted
    before anything is squared, so nothing cancels, and neither the batch size nor the way the
    images were split over processes changes the result beyond the last digits.

    Args:
        dim: number D of features.

    Attributes:
        count: number of feature vectors seen.
        mean: their mean, shape (D,).

    Example:
        >>> statistics = FeatureStatistics(1)
        >>> statistics.update(torch.tensor([[1.0], [2.0]]))
        >>> statistics.update(torch.tensor([[6.0]]))
        >>> statistics.count, statistics.mean.item(), statistics.covariance.item()
        (3, 3.0, 7.0)
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64)

    @classmethod
    def of(cls, features: Tensor, batch_size: int = 4096) -> "FeatureStatistics":
        """Statistics of features (N, D) that are all there already."""
        statistics = cls(features.shape[1])
        for batch in features.split(batch_size):
            statistics.update(batch)
        return statistics

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance, shape (D, D).

        Raises:
            ValueError: fewer than two feature vectors.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two feature vectors and has {self.count}.")
        return self._scatter / (self.count - 1)

    def update(self, features: Tensor) -> None:
        """Add a batch of features (N, D); an empty one changes nothing."""
        if features.dim() != 2 or features.shape[1] != len(self.mean):
            raise ValueError(
                f"features must have shape (N, {len(self.mean)}), got {tuple(features.shape)}."
            )
        if len(features) == 0:
            return
        batch = features.detach().to("cpu", torch.float64)
        mean = batch.mean(0)
        centred = batch - mean
        self._merge(len(batch), mean, centred.T @ centred)

    def merge(self, other: "FeatureStatistics") -> None:
        """Add what ``other`` has seen; ``other`` stays as it is."""
        if other.count:
            self._merge(other.count, other.mean, other._scatter)

    def merge_ranks(self) -> None:
        """Add what all other processes of ``torch.distributed`` have seen; collective.

        Every process has called it with its own share, and has the statistics of all shares
        afterwards, the same to the last bit. Without a process group nothing changes.
        """
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        shares: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(shares, (self.count, self.mean, self._scatter))
        self.count = 0
        self.mean, self._scatter = torch.zeros_like(self.mean), torch.zeros_like(self._scatter)
        for count, mean, scatter in shares:  # in the order of ranks, on all of them
            if count:
                self._merge(count, mean, scatter)

    def _merge(self, count: int, mean: Tensor, scatter: Tensor) -> None:
        total = self.count + count
        shift = mean - self.mean
        self.mean = self.mean + shift * (count / total)
        between = torch.outer(shift, shift) * (self.count * count / total)
        self._scatter = self._scatter + scatter + between
        self.count = total
