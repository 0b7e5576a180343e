r"""A mixture of Gaussians, fitted to the encodings of a trained model.

Where a prior has mass and no encodings lie, samples are bad. Ex-post density estimation takes for
the prior a density that fits the encodings there are (Ghosh et al., "From variational to
deterministic autoencoders", 2020, Section 4). Per class c, on the active dimensions,

.. math:: p(z \mid c) = \sum_m w_{cm} \, \mathcal{N}(z;\ \mu_{cm},\ L_{cm} L_{cm}^\top) .

Expectation maximisation fits it: scikit-learn's, or ``fit_mixture`` where encodings are on a GPU.
"""

from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from genrev.errors import GenrevError
from genrev.options import Count
from genrev.priors.expectation import Mixture, fit_mixture, followed
from genrev.priors.prior import ActiveDims, Prior, check_class
from genrev.progress import track
from genrev.words import counted

_MOST_NUMBERS = 2**26  # of the factors of samples that are drawn at once; bounds the memory

Covariance = Literal["full", "diag"]
COVARIANCES: tuple[Covariance, ...] = get_args(Covariance)


class GaussianMixturePrior(Prior):
    """Mixture of Gaussians per class on the active dimensions, zero elsewhere.

    A new one has standard normals; ``fit_`` fits it, by scikit-learn.

    Args:
        num_classes: number K of classes; 1 for data without labels.
        components: number M of Gaussians in each class.
        covariance: of every Gaussian, "full" or "diag".
        dim, active_dims, bound: see ``Prior``; it bounds clamped encodings, not samples.

    Attributes:
        weights: shape (K, M); those of a class sum to 1.
        means: shape (K, M, k).
        factors: lower triangular of shape (K, M, k, k) for full covariances, standard deviations
            (K, M, k) for diagonal ones.
    """

    class Options(Prior.Options):
        """Options of a mixture; until it is fitted, it is one Gaussian that follows the batches."""

        components: Count = 10
        """Gaussians of the mixture that is fitted to the encodings when the training is over, as
        ``genrev fit-prior`` does (to those of a sample, where data are streamed)."""
        by_class: bool = False
        """Fit a mixture to the encodings of every class, where the data have labels. With a
        class-conditional network (``network.context``) it does in any case."""

    fitted = True

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(
        self,
        num_classes: int,
        components: int,
        covariance: Covariance,
        dim: int,
        active_dims: ActiveDims = None,
        bound: float | None = None,
    ) -> None:
        super().__init__(dim, active_dims, bound)
        if num_classes < 1 or components < 1 or covariance not in ("full", "diag"):
            raise ValueError(
                "A mixture has 1 or more classes and components and covariances full or diag; got "
                f"{num_classes}, {components} and {covariance!r}."
            )
        self.num_classes = num_classes
        self.components = components
        self.covariance: Covariance = covariance
        shape, k = (num_classes, components), len(self.active_dims)
        factor = torch.eye(k) if covariance == "full" else torch.ones(k)
        self.register_buffer("weights", torch.full(shape, 1 / components))
        self.register_buffer("means", torch.zeros(*shape, k))
        self.register_buffer("factors", factor.expand(*shape, *factor.shape).clone())

    @torch.no_grad()
    def follow_(self, active: Tensor, rate: float) -> None:
        """Let all components follow mean and covariance of batches (N, k), averaged exponentially.

        See ``expectation.followed``.

        Raises:
            ValueError: for diagonal covariances.
        """
        if self.covariance != "full":
            raise ValueError("Only a mixture with full covariances follows batches.")
        mean, factor = followed(active, self.means[0, 0], self.factors[0, 0], rate)
        self.means.copy_(mean)
        self.factors.copy_(factor)

    def whitened(self, active: Tensor) -> Tensor:
        """Active dimensions (N, k) of mean 0 and covariance 1, while the mixture follows them."""
        mean, factor = self.means[0, 0], self.factors[0, 0]
        if self.covariance != "full":
            return (active - mean) / factor
        return torch.linalg.solve_triangular(factor, (active - mean).T, upper=False).T

    def distribution(self, label: int | None = None) -> Distribution:
        """The mixture of Gaussians of a class, or of all classes."""
        own = slice(None) if label is None else [check_class(label, self.num_classes)]
        means, factors = self.means[own].flatten(0, 1), self.factors[own].flatten(0, 1)
        gaussians: Distribution
        if self.covariance == "full":
            gaussians = MultivariateNormal(means, scale_tril=factors, validate_args=False)
        else:
            gaussians = Independent(Normal(means, factors, validate_args=False), 1)
        weights = Categorical(self.weights[own].flatten(), validate_args=False)
        return MixtureSameFamily(weights, gaussians, validate_args=False)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """A uniform number, which chooses the component, and k normal ones: (n, 1 + k)."""
        uniform = torch.rand(n, 1, generator=generator)
        normal = torch.randn(n, len(self.active_dims), generator=generator)
        return torch.cat((uniform, normal), dim=1)

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Choose a component for every row and draw from it, (N, k)."""
        if torch.compiler.is_compiling():  # an exported program has any number of rows
            return self._drawn_from(noise.to(self.means), labels)
        rows = max(1, _MOST_NUMBERS // self.factors[0, 0].numel())
        parts = zip(noise.to(self.means).split(rows), labels.split(rows), strict=True)
        return torch.cat([self._drawn_from(*part) for part in parts])

    def _drawn_from(self, noise: Tensor, labels: Tensor) -> Tensor:
        uniform, normal = noise.split([1, noise.shape[1] - 1], dim=1)
        # By inversion of the cumulated weights; the last of them may be a little below 1.
        chosen = (uniform > self.weights.cumsum(1)[labels]).sum(1)  # (N,)
        chosen = chosen.clamp(max=self.components - 1)
        factors = self.factors[labels, chosen]  # (N, k, k) or (N, k)
        full = self.covariance == "full"
        scaled = (factors @ normal.unsqueeze(2)).squeeze(2) if full else factors * normal
        return self.means[labels, chosen] + scaled

    def describe(self) -> dict[str, Any]:
        """Arguments of the class as plain JSON values."""
        own = {"components": self.components, "covariance": self.covariance}
        return {"num_classes": self.num_classes, **super().describe(), **own}

    @classmethod
    def start(cls, options: Any, dim: int, active_dims: Tensor | None, num_classes: int) -> Self:
        """Standard normals with full covariances."""
        return cls(num_classes, options.components, "full", dim, active_dims, options.bound)

    @property
    def fewest_images(self) -> int:
        """k + 1 for each Gaussian of a class, 2 where covariances are diagonal."""
        return fewest_encodings(self.components, self.covariance, len(self.active_dims))

    def fit_(self, active: Tensor, labels: Tensor, seed: int = 0) -> dict[str, float]:
        """Fit the encodings (N, k) with classes (N,) by expectation maximisation.

        Returns:
            ``log_prob``, mean log-density of the encodings in nats, each in its own class, before
            the last and smallest step.

        Raises:
            GenrevError: encodings that are not finite, or too few of a class: a Gaussian is
                estimated from k + 1 encodings at least (2 where its covariance is diagonal).
        """
        dimensions = counted(active.shape[1], "active dimension")
        need = (
            f"{counted(self.components, 'component')} with {self.covariance} covariances of "
            f"{dimensions} need"
        )
        self.require_encodings(active, labels, need, lambda have: self._cure(have, active.shape[1]))
        total = 0.0
        for label in track(range(self.num_classes), "mixtures", "classes"):
            of_class = active[labels == label]
            total += len(of_class) * self._fit_class(label, of_class, seed)
        return {"log_prob": total / len(active)}

    def _cure(self, images: int, k: int) -> str:
        """What fits so many images of a class, in words."""
        most = {kind: images // fewest_encodings(1, kind, k) for kind in COVARIANCES}
        if most[self.covariance]:
            fewer = " or fewer" if most[self.covariance] > 1 else ""
            return f"use --components {most[self.covariance]}{fewer}"
        if most["diag"]:
            return f"use --covariance diag with --components {min(most['diag'], self.components)}"
        return "use data with more images"

    def _fit_class(self, label: int, active: Tensor, seed: int) -> float:
        from threadpoolctl import threadpool_limits

        # scikit-learn computes on the CPU, where its results are kept to the bit.
        fit = _by_scikit_learn if active.device.type in ("cpu", "mps") else fit_mixture
        try:
            # More threads would add up in another order every time.
            with threadpool_limits(1):
                mixture, log_prob = fit(active, self.components, self.covariance == "full", seed)
        except ValueError as error:  # rounding beat the least variance
            raise GenrevError(
                f"No {self.components} Gaussians fit the encodings, since some of their "
                "covariances are not positive definite; take fewer components."
            ) from error
        for buffer, fitted in zip((self.weights, self.means, self.factors), mixture, strict=True):
            buffer[label] = fitted
        return log_prob


def _by_scikit_learn(
    active: Tensor, components: int, full: bool, seed: int
) -> tuple[Mixture, float]:
    """What ``fit_mixture`` finds, on the CPU."""
    from sklearn.mixture import GaussianMixture  # takes a second, which nothing else needs

    kind = "full" if full else "diag"
    mixture = GaussianMixture(components, covariance_type=kind, max_iter=500, random_state=seed)
    mixture.fit(active.cpu().double().numpy())
    covariances = torch.from_numpy(mixture.covariances_)
    factors = torch.linalg.cholesky(covariances) if full else covariances.sqrt()
    fitted = Mixture(torch.from_numpy(mixture.weights_), torch.from_numpy(mixture.means_), factors)
    return fitted, float(mixture.lower_bound_)


def fewest_encodings(components: int, covariance: Covariance, k: int) -> int:
    """How many encodings of k active dimensions a class needs: every Gaussian its own estimate."""
    return components * (k + 1 if covariance == "full" else 2)
