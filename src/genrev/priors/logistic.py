"""The standard logistic distribution: the factorised prior of NICE (Dinh et al. 2015)."""

import math

import torch
from torch import Tensor

from genrev.priors.active import ActivePrior

__all__ = ["ActiveLogistic"]


class ActiveLogistic(ActivePrior):
    r"""Standard logistic on the active dimensions (by default all), zero elsewhere.

    Its tails fall as :math:`e^{-|z|}`, so outliers cost a likelihood less than under a Gaussian.

    Args:
        dim: size n of the full latent space.
        active_dims: indices of the active dimensions, shape (k,); ``None`` makes all active.
        bound: see ``ActivePrior``; by default nothing is cut.

    Example:
        >>> prior = ActiveLogistic(4)
        >>> z = prior.sample(10_000, generator=torch.Generator().manual_seed(0))
        >>> z.shape, round(float(z.std() / prior.scale()[0]), 1)
        (torch.Size([10000, 4]), 1.0)
    """

    def __init__(
        self, dim: int, active_dims: Tensor | None = None, bound: float | None = None
    ) -> None:
        super().__init__(dim, active_dims, bound)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard logistic, shape (n, k)."""
        uniform = torch.rand(n, len(self.active_dims), generator=generator, dtype=torch.float64)
        # The generator may give 0 itself, whose logit is infinite.
        return torch.logit(uniform, eps=torch.finfo(torch.float64).eps).float()

    def _shaped(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        del labels
        return noise

    def _active_std(self) -> float:
        return math.pi / math.sqrt(3)
