"""Priors whose active dimensions are independent and all alike: normal, uniform, logistic."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from genrev.options import Positive
from genrev.priors.prior import Prior


class _Factorised(Prior):
    """A prior without classes and parameters, centred on zero."""

    _std: float
    """Standard deviation of an active dimension."""

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """The noise itself."""
        return noise

    def moments(self, label: int | None) -> tuple[Tensor, Tensor]:
        """Zero, and one standard deviation for all dimensions."""
        mean = torch.zeros(len(self.active_dims), device=self.active_dims.device)
        return mean, torch.full_like(mean, self._std)


class ActiveGaussian(_Factorised):
    """Standard normal on the active dimensions, zero elsewhere.

    Example:
        >>> prior = ActiveGaussian(6, torch.tensor([1, 4]))
        >>> z = torch.tensor([[9.0, 9.0, 9.0, 9.0, -0.5, 9.0]])
        >>> prior.clamp(z)
        tensor([[ 0.0000,  2.0000,  0.0000,  0.0000, -0.5000,  0.0000]])
        >>> prior.sample(3, generator=torch.Generator().manual_seed(0))[:, 0]
        tensor([0., 0., 0.])
    """

    _std = 1.0

    def active_log_prob(self, active: Tensor, label: int | None) -> Tensor:
        """Log-density, (N, k) to (N,)."""
        return gaussian_log_density(active)


class ActiveUniform(_Factorised):
    """Uniform on [-bound, bound], which it needs, on the active dimensions, zero elsewhere."""

    class Options(Prior.Options):
        """Options of a uniform prior."""

        bound: Positive = 2.0
        """The prior is uniform on [-bound, bound], and the clamp cuts active dimensions there."""

    def __init__(
        self, dim: int, active_dims: Tensor | None = None, bound: float | None = 2.0
    ) -> None:
        if bound is None:
            raise ValueError("A uniform prior needs a bound.")
        super().__init__(dim, active_dims, bound)
        self._half_width, self._std = bound, bound / math.sqrt(3)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform on [0, 1), shape (n, k)."""
        return torch.rand(n, len(self.active_dims), generator=generator)

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """From [0, 1) to [-bound, bound)."""
        return (2 * noise - 1) * self._half_width

    def active_log_prob(self, active: Tensor, label: int | None) -> Tensor:
        """Minus infinity outside of the cube, (N, k) to (N,)."""
        inside = (active.abs() <= self._half_width).all(1)
        density = -active.shape[1] * math.log(2 * self._half_width)
        return active.new_full((len(active),), density).masked_fill(~inside, -math.inf)


class ActiveLogistic(_Factorised):
    r"""Standard logistic on the active dimensions (by default all), zero elsewhere.

    The factorised prior of NICE (Dinh et al. 2015). Its tails fall as :math:`e^{-|z|}`, so outliers
    cost a likelihood less than under a Gaussian. By default nothing is cut.

    Example:
        >>> prior = ActiveLogistic(4)
        >>> z = prior.sample(10_000, generator=torch.Generator().manual_seed(0))
        >>> z.shape, round(float(z.std() / prior.scale()[0]), 1)
        (torch.Size([10000, 4]), 1.0)
    """

    _std = math.pi / math.sqrt(3)

    def __init__(
        self, dim: int, active_dims: Tensor | None = None, bound: float | None = None
    ) -> None:
        super().__init__(dim, active_dims, bound)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard logistic, shape (n, k)."""
        uniform = torch.rand(n, len(self.active_dims), generator=generator, dtype=torch.float64)
        # The generator may give 0 itself, whose logit is infinite.
        return torch.logit(uniform, eps=torch.finfo(torch.float64).eps).float()

    def active_log_prob(self, active: Tensor, label: int | None) -> Tensor:
        """Log-density, (N, k) to (N,)."""
        return logistic_log_density(active)


def gaussian_log_density(z: Tensor) -> Tensor:
    """Log-density of standard normal dimensions, summed: (N, D) to (N,)."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)


def logistic_log_density(z: Tensor) -> Tensor:
    """Log-density of standard logistic dimensions, summed: (N, D) to (N,)."""
    return -(F.softplus(z) + F.softplus(-z)).sum(1)
