"""One Gaussian with learned mean and learned standard deviations per class.

The prior of the paper's adversary-free experiment (Schirrmeister et al. 2018, Section 3.2): means
and standard deviations are trained along with the network, so a dimension whose standard
deviation goes to zero is out of use and the number of latent dimensions need not be fixed
beforehand.
"""

import torch
from torch import Tensor, nn

from genrev.priors.active import ActivePrior
from genrev.priors.labels import Labels, check_class, labels_for

__all__ = ["ClassConditionalGaussian"]


class ClassConditionalGaussian(ActivePrior):
    """Axis-aligned Gaussian per class on the active dimensions, zero elsewhere.

    Args:
        num_classes: number K of classes; 1 for data without labels.
        dim: size n of the full latent space.
        active_dims: indices of the active dimensions, shape (k,); ``None`` makes all active.
        bound: see ``ActivePrior``; the paper does not bound here.

    Attributes:
        mean: learned, shape (K, k).
        std: learned, shape (K, k), kept at 0 or above by ``project_``.

    Raises:
        ValueError: fewer than one class; see also ``ActivePrior``.

    Example:
        >>> prior = ClassConditionalGaussian(10, 64, active_dims=torch.arange(8))
        >>> prior.sample(4, label=3).shape
        torch.Size([4, 64])
        >>> prior.labels(12)
        tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])
    """

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

    def labels(self, n: int) -> Tensor:
        """Labels 0, 1, ..., K-1, 0, ... for n samples, so that classes are balanced; (n,)."""
        return torch.arange(n, device=self.mean.device) % self.num_classes

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

    def sample(
        self,
        n: int,
        label: Labels = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw n latents, shape (n, dim), differentiable in means and standard deviations.

        Args:
            n: number of samples.
            label: one class for all, whole numbers (n,) with one class each, or ``None`` to
                cycle through all classes.
            generator: source of the noise, on the CPU.

        Raises:
            TypeError: n or a label is no whole number.
            ValueError: n is negative, a label is no class of this prior, or another number of
                labels than of samples.
        """
        return super().sample(n, label, generator)

    def center(self, label: int | None = None) -> Tensor:
        """Mean of a class, or of the mixture of all classes; shape (dim,)."""
        if label is None:
            return self.embed(self.mean.mean(0, keepdim=True))[0]
        mean = self.mean[check_class(label, self.num_classes)]
        return self.embed(mean.unsqueeze(0))[0]

    def scale(self, label: int | None = None) -> Tensor:
        """Standard deviation of a class, or of the mixture of all classes; shape (dim,)."""
        if label is None:
            spread = self.mean.var(0, correction=0) + self.std.square().mean(0)
            return self.embed(spread.sqrt().unsqueeze(0))[0]
        std = self.std[check_class(label, self.num_classes)]
        return self.embed(std.unsqueeze(0))[0]

    def _labels(self, n: int, label: Labels) -> Tensor:
        return labels_for(n, label, self.num_classes).to(self.mean.device)

    def _shaped(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ValueError("a class-conditional prior needs the label of every sample.")
        return self.mean[labels] + self.std[labels] * noise.to(self.mean)  # (N, k)
