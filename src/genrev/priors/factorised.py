"""Priors whose active dimensions are independent and all alike: normal, uniform, logistic."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, Uniform, constraints
from torch.nn import functional as F

from genrev.options import Positive
from genrev.priors.prior import ActiveDims, Prior


class _Factorised(Prior):
    """A prior without classes and parameters, whose dimensions are alike."""

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """The noise itself."""
        return noise

    def _everywhere(self, number: float) -> Tensor:
        """The number for every active dimension, (k,), on the device of the prior."""
        return torch.full((len(self.active_dims),), number, device=self.active_dims.device)


class ActiveGaussian(_Factorised):
    """Standard normal on the active dimensions, zero elsewhere.

    Example:
        >>> prior = ActiveGaussian(6, active_dims=[1, 4], bound=2.0)
        >>> z = torch.tensor([[9.0, 9.0, 9.0, 9.0, -0.5, 9.0]])
        >>> prior.clamp(z)
        tensor([[ 0.0000,  2.0000,  0.0000,  0.0000, -0.5000,  0.0000]])
        >>> prior.sample(3, generator=torch.Generator().manual_seed(0))[:, 0]
        tensor([0., 0., 0.])
    """

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal, shape (n, k)."""
        return torch.randn(n, len(self.active_dims), generator=generator)

    def distribution(self, label: int | None = None) -> Distribution:
        """Independent standard normals."""
        normal = Normal(self._everywhere(0.0), self._everywhere(1.0), validate_args=False)
        return Independent(normal, 1, validate_args=False)


class ActiveUniform(_Factorised):
    """Uniform on [-bound, bound], which it needs, on the active dimensions, zero elsewhere."""

    class Options(Prior.Options):
        """Options of a uniform prior."""

        bound: Positive = 2.0
        """The prior is uniform on [-bound, bound], and the clamp cuts active dimensions there."""

    def __init__(self, dim: int, active_dims: ActiveDims = None, bound: float | None = 2.0) -> None:
        if bound is None:
            raise ValueError("A uniform prior needs a bound.")
        super().__init__(dim, active_dims, bound)
        self._half_width = bound

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform on [0, 1), shape (n, k)."""
        return torch.rand(n, len(self.active_dims), generator=generator)

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """From [0, 1) to [-bound, bound)."""
        return (2 * noise - 1) * self._half_width

    def distribution(self, label: int | None = None) -> Distribution:
        """Independent uniform distributions; what was clamped to the bound is inside of them."""
        high = self._everywhere(self._half_width)
        above = high.nextafter(torch.full_like(high, math.inf))  # a Uniform has not its upper end
        return Independent(Uniform(-high, above, validate_args=False), 1, validate_args=False)


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

    def __init__(
        self, dim: int, active_dims: ActiveDims = None, bound: float | None = None
    ) -> None:
        super().__init__(dim, active_dims, bound)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard logistic, shape (n, k)."""
        uniform = torch.rand(n, len(self.active_dims), generator=generator, dtype=torch.float64)
        return _logit(uniform).float()

    def distribution(self, label: int | None = None) -> Distribution:
        """Independent standard logistic distributions."""
        logistic = StandardLogistic(self._everywhere(0.0))
        return Independent(logistic, 1, validate_args=False)


class StandardLogistic(Distribution):
    r"""Logistic distribution of mean 0 and standard deviation :math:`\pi / \sqrt{3}`.

    PyTorch has it only by way of a sigmoid that saturates.

    Args:
        zeros: where it is: batch shape, device and number format are those of this tensor.

    Example:
        >>> StandardLogistic(torch.zeros(2)).log_prob(torch.tensor([0.0, 200.0]))
        tensor([  -1.3863, -200.0000])
    """

    arg_constraints: ClassVar = {}
    support = constraints.real
    has_rsample = True

    def __init__(self, zeros: Tensor) -> None:
        self._zeros = zeros
        super().__init__(zeros.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Zero."""
        return self._zeros

    @property
    def variance(self) -> Tensor:
        """A third of the square of pi."""
        return torch.full_like(self._zeros, math.pi**2 / 3)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, without a sum over dimensions."""
        return -(F.softplus(value) + F.softplus(-value))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples, by inversion of the distribution function."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return _logit(torch.rand(shape, dtype=self._zeros.dtype, device=self._zeros.device))


def _logit(uniform: Tensor) -> Tensor:
    """Standard logistic numbers from [0, 1), whose 0 would become infinite."""
    return torch.logit(uniform, eps=torch.finfo(uniform.dtype).eps)
