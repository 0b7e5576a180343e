"""Moments of encodings, streamed over a data set, and the dimensions that are to be active."""

import torch
from torch import Tensor


class ClassMoments:
    """Accumulate per-class moments in float64, in any number of batches, by Chan's update.

    Example:
        >>> moments = ClassMoments(num_classes=2, dim=1)
        >>> moments.update(torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1]))
        >>> moments.mean.flatten().tolist(), moments.std.flatten().tolist()
        ([2.0, 5.0], [1.0, 0.0])
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        self.count = torch.zeros(num_classes, 1, dtype=torch.float64)
        self.mean = torch.zeros(num_classes, dim, dtype=torch.float64)
        self._m2 = torch.zeros(num_classes, dim, dtype=torch.float64)

    def update(self, z: Tensor, labels: Tensor) -> None:
        """Add encodings z (N, D) with their labels (N,)."""
        z, labels = z.detach().cpu().double(), labels.cpu()
        count = torch.zeros_like(self.count).index_add_(0, labels, torch.ones_like(z[:, :1]))
        mean = torch.zeros_like(self.mean).index_add_(0, labels, z) / count.clamp(min=1)
        m2 = torch.zeros_like(self._m2).index_add_(0, labels, (z - mean[labels]).square())
        self.merge(count, mean, m2)

    def merge(self, count: Tensor, mean: Tensor, m2: Tensor) -> None:
        """Add the moments of another part: counts (K, 1), means and summed squares (K, D)."""
        total = self.count + count
        delta = mean - self.mean
        share = count / total.clamp(min=1)
        self.mean = self.mean + delta * share
        self._m2 = self._m2 + m2 + delta.square() * self.count * share
        self.count = total

    def state(self) -> tuple[Tensor, Tensor, Tensor]:
        """What ``merge`` takes."""
        return self.count, self.mean, self._m2

    @property
    def std(self) -> Tensor:
        """Population standard deviation of every class, shape (K, D)."""
        return (self._m2 / self.count.clamp(min=1)).sqrt()

    @property
    def overall_std(self) -> Tensor:
        """Population standard deviation over all classes together, shape (D,)."""
        total = self.count.sum().clamp(min=1)
        mean = (self.count * self.mean).sum(0) / total
        between = (self.count * (self.mean - mean).square()).sum(0)
        return ((self._m2.sum(0) + between) / total).sqrt()


def largest_std_dims(stds: Tensor, k: int, coarse: int | None = None) -> Tensor:
    """Indices of the k largest standard deviations, int64 (k,) in ascending order of index.

    The paper's choice of active dimensions (Section 3.1). Ties go to the smaller index.

    Args:
        stds: standard deviation of every latent dimension, shape (D,).
        k: how many, between 1 and D.
        coarse: the last so many dimensions come before all others, for in a hierarchical network
            what does not pass through all stages is fine detail, which says little about an image.

    Raises:
        ValueError: k out of range.

    Example:
        >>> largest_std_dims(torch.tensor([0.1, 3.0, 0.2, 3.0]), 2).tolist()
        [1, 3]
        >>> largest_std_dims(torch.tensor([0.1, 3.0, 0.2, 3.0]), 2, coarse=2).tolist()
        [2, 3]
    """
    if not 1 <= k <= len(stds):
        raise ValueError(f"active_dims must lie between 1 and {len(stds)} and is {k}.")
    order = torch.sort(stds, descending=True, stable=True).indices
    if coarse is not None:
        fine = order < len(stds) - coarse
        order = torch.cat((order[~fine], order[fine]))
    return order[:k].sort().values.cpu()
