"""One Gaussian with learned mean and learned standard deviations per class (Section 3.2)."""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from genrev.options import Positive
from genrev.priors.prior import Prior, check_class

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
        active_dims: Tensor | None = None,
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

    def active_log_prob(self, active: Tensor, label: int | None) -> Tensor:
        """Log-density (N,); standard deviations near 0 count as 1e-6."""
        own = slice(None) if label is None else [check_class(label, self.num_classes)]
        densities = class_log_densities(active, self.mean[own], self.std[own], _LEAST_STD)
        return densities.logsumexp(1) - math.log(densities.shape[1])

    def moments(self, label: int | None) -> tuple[Tensor, Tensor]:
        """Of a class, or of the mixture of all classes, (k,) each."""
        if label is not None:
            number = check_class(label, self.num_classes)
            return self.mean[number], self.std[number]
        spread = self.mean.var(0, correction=0) + self.std.square().mean(0)
        return self.mean.mean(0), spread.sqrt()

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


def class_log_densities(
    z: Tensor, means: Tensor, stds: Tensor, smallest_std: float = 0.1
) -> Tensor:
    """Natural log-densities (N, K) of points under axis-aligned Gaussians.

    Their softmax over the classes is the posterior of equally frequent ones.

    Args:
        z: active dimensions of encodings, (N, k).
        means, stds: of the classes, (K, k); standard deviations are 0 or more.
        smallest_std: standard deviations below count as this.

    Example:
        >>> z, means = torch.tensor([[1.0]]), torch.tensor([[0.0], [4.0]])
        >>> class_log_densities(z, means, torch.ones(2, 1)).softmax(1).round(decimals=3)
        tensor([[0.9820, 0.0180]])
    """
    stds = stds.clamp(min=smallest_std)
    standard = (z.unsqueeze(1) - means) / stds  # (N, K, k)
    constant = stds.log().sum(1) + 0.5 * math.log(2 * math.pi) * z.shape[1]  # (K,)
    return -0.5 * standard.square().sum(2) - constant
