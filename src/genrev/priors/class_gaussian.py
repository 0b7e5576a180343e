"""One Gaussian with learned mean and learned standard deviations per class (Section 3.2)."""

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from genrev.options import Positive
from genrev.priors.prior import ActiveDims, EqualMixture, Prior, check_class, moments_of_classes

_LEAST_STD = 1e-6  # counts for smaller ones, which have no density


class ClassConditionalGaussian(Prior):
    """Axis-aligned Gaussian per class on the active dimensions, zero elsewhere.

    The prior of the paper's adversary-free experiment (Schirrmeister et al. 2018, Section 3.2).
    Learned are ``mean`` and ``std``, (K, k) each; a dimension whose ``std`` goes to 0 is unused.

    Args:
        num_classes: number K of classes; 1 for data without labels.
        dim, active_dims, bound: see ``Prior``; the paper does not bound here.

    Example:
        >>> prior = ClassConditionalGaussian(10, 64, active_dims=torch.arange(8))
        >>> prior.sample(4, label=3).shape
        torch.Size([4, 64])
    """

    class Options(Prior.Options):
        """Options of class-conditional Gaussians."""

        lr: Positive = 1e-3
        """Learning rate of Adam for means and standard deviations."""

    class_conditional = True

    def __init__(
        self,
        num_classes: int,
        dim: int,
        active_dims: ActiveDims = None,
        bound: float | None = None,
    ) -> None:
        super().__init__(dim, active_dims, bound)
        if num_classes < 1:
            raise ValueError(f"num_classes must be 1 or more and is {num_classes}.")
        self.num_classes = num_classes
        k = len(self.active_dims)
        self.mean = nn.Parameter(torch.zeros(num_classes, k))
        self.std = nn.Parameter(torch.ones(num_classes, k))

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Scale and shift by the class of every row, (N, k)."""
        return self.mean[labels] + self.std[labels] * noise.to(self.mean)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal, shape (n, k)."""
        return torch.randn(n, len(self.active_dims), generator=generator)

    def distribution(self, label: int | None = None) -> Distribution:
        """Independent normals, or their mixture; standard deviations near 0 count as 1e-6."""
        if label is None:
            return EqualMixture([self.distribution(one) for one in range(self.num_classes)])
        number = check_class(label, self.num_classes)
        mean, std = self.mean[number], self.std[number].clamp(min=_LEAST_STD)
        return Independent(Normal(mean, std, validate_args=False), 1, validate_args=False)

    def moments(self, label: int | None) -> tuple[Tensor, Tensor]:
        """Of a class, or of the mixture of all classes, (k,) each."""
        return moments_of_classes(self.mean, self.std, label)

    def describe(self) -> dict[str, Any]:
        """Arguments of the class as plain JSON values."""
        return {"num_classes": self.num_classes, **super().describe()}

    @classmethod
    def start(cls, options: Any, dim: int, active_dims: Tensor | None, num_classes: int) -> Self:
        """Standard normals."""
        return cls(num_classes, dim, active_dims, options.bound)

    @torch.no_grad()
    def initialise_(self, means: Tensor, stds: Tensor) -> None:
        """Start from class statistics of encodings, both of shape (K, n)."""
        self.mean.copy_(self.restrict(means.to(self.mean)))
        self.std.copy_(self.restrict(stds.to(self.std)))
        self.project_()

    @torch.no_grad()
    def project_(self) -> None:
        """Clamp standard deviations at zero; call after every optimiser step."""
        self.std.clamp_(min=0)
