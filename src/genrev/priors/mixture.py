r"""A mixture of Gaussians, fitted to the encodings of a trained model.

Training draws encodings towards a prior and never quite gets there: where the prior has mass and
no encodings lie, samples are bad. Ex-post density estimation leaves encoder and decoder alone and
takes a density for the prior that fits the encodings there are (Ghosh et al., "From variational to
deterministic autoencoders", 2020, Section 4). Per class c, on the active dimensions,

.. math:: p(z \mid c) = \sum_m w_{cm} \, \mathcal{N}(z;\ \mu_{cm},\ L_{cm} L_{cm}^\top) .

scikit-learn fits it by expectation maximisation; what is kept are tensors: weights, means and the
lower triangular factors :math:`L` (standard deviations, where covariances are diagonal).
"""

import math
from typing import Literal

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm import tqdm

from genrev.errors import GenrevError
from genrev.priors.active import ActivePrior
from genrev.priors.labels import Labels, check_class, labels_for

__all__ = ["Covariance", "GaussianMixturePrior", "fewest_encodings", "fit_mixture"]

Covariance = Literal["full", "diag"]

_MOST_ITERATIONS = 500
_LEAST_VARIANCE = 1e-6  # that of scikit-learn


class GaussianMixturePrior(ActivePrior):
    """Mixture of Gaussians per class on the active dimensions, zero elsewhere.

    A new one has standard normals only; ``fit_mixture`` makes one that fits, and loading a model
    fills the tensors in.

    Args:
        num_classes: number K of classes; 1 for data without labels.
        components: number M of Gaussians in each class.
        covariance: of every Gaussian, "full" or "diag".
        dim: size n of the full latent space.
        active_dims: indices of the active dimensions, shape (k,); ``None`` makes all active.
        bound: see ``ActivePrior``; it bounds clamped encodings, not samples.

    Attributes:
        weights: shape (K, M); those of a class sum to 1.
        means: shape (K, M, k).
        factors: lower triangular of shape (K, M, k, k) for full covariances, standard deviations
            (K, M, k) for diagonal ones.

    Raises:
        ValueError: fewer than one class or component, or another covariance; see also
            ``ActivePrior``.

    Example:
        >>> prior = GaussianMixturePrior(10, 3, "diag", 64, torch.arange(8))
        >>> prior.sample(4, label=3).shape
        torch.Size([4, 64])
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(
        self,
        num_classes: int,
        components: int,
        covariance: Covariance,
        dim: int,
        active_dims: Tensor | None = None,
        bound: float | None = None,
    ) -> None:
        super().__init__(dim, active_dims, bound)
        if num_classes < 1 or components < 1 or covariance not in ("full", "diag"):
            raise ValueError(
                "a mixture has 1 or more classes and components and covariances full or diag; got "
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
        """Move mean and covariance towards those of a batch, all components alike.

        One Gaussian for all there is, which is what a mixture is before it is fitted: exponential
        moving averages of the first two moments. A small multiple of the identity keeps the
        covariance positive definite; a batch so far out that rounding beats it is left out.

        Args:
            active: restricted encodings (N, k) of a batch, of all classes.
            rate: share of the batch in the averages, in (0, 1].

        Raises:
            ValueError: for diagonal covariances.
        """
        if self.covariance != "full":
            raise ValueError("only a mixture with full covariances follows batches.")
        # A narrow dimension must not lose its variance to rounding, and not every accelerator has
        # float64.
        active, mean, factor = (
            numbers.cpu().double() for numbers in (active, self.means[0, 0], self.factors[0, 0])
        )
        shift = active.mean(0) - mean
        centred = active - active.mean(0)
        batch = centred.T @ centred / len(active)
        covariance = (1 - rate) * (factor @ factor.T + rate * torch.outer(shift, shift))
        covariance += rate * batch
        covariance.diagonal().add_(rate * _LEAST_VARIANCE)
        moved, failed = torch.linalg.cholesky_ex(covariance)
        if not failed and moved.isfinite().all():
            self.means.copy_(mean + rate * shift)
            self.factors.copy_(moved)

    def log_density(self, active: Tensor, label: int | None = None) -> Tensor:
        """Log-density of restricted latents (N, k) in a class, or over all classes; shape (N,)."""
        own = slice(None)
        if label is not None:
            label = check_class(label, self.num_classes)
            own = slice(label, label + 1)
        weights, means = self.weights[own].flatten(), self.means[own].flatten(0, 1)
        factors = self.factors[own].flatten(0, 1)  # (m, k, k) or (m, k)
        parts = []
        for weight, mean, factor in zip(weights, means, factors, strict=True):
            white, log_volume = _whiten(active - mean, factor)  # (N, k)
            squared = white.square().sum(1)
            constant = weight.log() - log_volume - math.log(2 * math.pi) * len(mean) / 2
            parts.append(constant - squared / 2)
        classes = self.num_classes if label is None else 1
        return torch.stack(parts).logsumexp(0) - math.log(classes)

    def center(self, label: int | None = None) -> Tensor:
        """Mean of a class, or of all classes together; shape (dim,)."""
        return self.embed(self._moments(label)[0].unsqueeze(0))[0]

    def scale(self, label: int | None = None) -> Tensor:
        """Standard deviation of a class, or of all classes together; shape (dim,)."""
        return self.embed(self._moments(label)[1].sqrt().unsqueeze(0))[0]

    def _moments(self, label: int | None) -> tuple[Tensor, Tensor]:
        """Mean and variance of the active dimensions, both (k,)."""
        if label is None:
            weights, means = self.weights / self.num_classes, self.means
            factors = self.factors
        else:
            label = check_class(label, self.num_classes)
            weights, means, factors = self.weights[label], self.means[label], self.factors[label]
        variances = factors.square()
        if self.covariance == "full":
            variances = variances.sum(-1)  # diagonal of L Lᵀ
        weights = weights.unsqueeze(-1)  # (..., M, 1)
        over = tuple(range(means.dim() - 1))
        mean = (weights * means).sum(over)
        return mean, (weights * (variances + (means - mean).square())).sum(over)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Per sample one uniform number, which chooses the component, and k normal ones."""
        uniform = torch.rand(n, 1, generator=generator)
        return torch.cat((uniform, super().noise(n, generator)), dim=1)  # (n, 1 + k)

    def _labels(self, n: int, label: Labels) -> Tensor:
        return labels_for(n, label, self.num_classes).to(self.means.device)

    def _shaped(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ValueError("a mixture needs the class of every sample; 0 where it has one.")
        uniform, normal = noise.to(self.means).split([1, noise.shape[1] - 1], dim=1)
        # By inversion of the cumulated weights; the last of them may be a little below 1.
        chosen = (uniform > self.weights.cumsum(1)[labels]).sum(1)  # (N,)
        chosen = chosen.clamp(max=self.components - 1)
        factors = self.factors[labels, chosen]  # (N, k, k) or (N, k)
        if self.covariance == "full":
            normal = (factors @ normal.unsqueeze(2)).squeeze(2)
        else:
            normal = factors * normal
        return self.means[labels, chosen] + normal


def fewest_encodings(components: int, covariance: Covariance, k: int) -> int:
    """How many encodings of k active dimensions a class needs: every Gaussian its own estimate."""
    return components * (k + 1 if covariance == "full" else 2)


def _whiten(centred: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """L⁻¹ of every row (N, k), and log det L."""
    if factor.dim() == 1:
        return centred / factor, factor.log().sum()
    white = torch.linalg.solve_triangular(factor, centred.T, upper=False).T
    return white, factor.diagonal().log().sum()


def fit_mixture(
    active: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    dim: int,
    active_dims: Tensor,
    components: int = 10,
    covariance: Covariance = "full",
    bound: float | None = None,
    seed: int = 0,
) -> GaussianMixturePrior:
    """Fit a mixture of Gaussians to the encodings of every class.

    Args:
        active: restricted encodings, shape (N, k).
        labels: class of every encoding, shape (N,); all 0 for one class.
        num_classes: number of classes.
        dim: size of the full latent space.
        active_dims: indices of the active dimensions, shape (k,).
        components: number of Gaussians in each class.
        covariance: of every Gaussian.
        bound: see ``ActivePrior``.
        seed: decides the start of the fit.

    Raises:
        GenrevError: encodings that are not finite, or too few of a class: a Gaussian is estimated
            from k + 1 encodings at least (2 where its covariance is diagonal).
    """
    if not active.isfinite().all():
        raise GenrevError(
            "the model's encodings are not finite, so no density fits them; its training has "
            "diverged, so take an earlier checkpoint or train with a smaller learning rate."
        )
    prior = GaussianMixturePrior(num_classes, components, covariance, dim, active_dims, bound)
    fewest = fewest_encodings(components, covariance, active.shape[1])
    counts = torch.bincount(labels.cpu(), minlength=num_classes)
    if counts.min() < fewest:
        raise GenrevError(
            f"{components} components with {covariance} covariances of {active.shape[1]} active "
            f"dimensions need {fewest:,} images of every class and one has {int(counts.min()):,}; "
            "use fewer with --components, or --covariance diag."
        )
    for label in tqdm(range(num_classes), desc="mixtures", disable=None, leave=False):
        _fit_class(prior, label, active[labels == label], seed)
    return prior


def _fit_class(prior: GaussianMixturePrior, label: int, active: Tensor, seed: int) -> None:
    from sklearn.mixture import GaussianMixture  # takes a second, which nothing else needs

    mixture = GaussianMixture(
        prior.components,
        covariance_type=prior.covariance,
        max_iter=_MOST_ITERATIONS,
        random_state=seed,
    )
    try:
        # More threads would add up in another order every time.
        with threadpool_limits(1):
            mixture.fit(active.cpu().double().numpy())
    except ValueError as error:  # rounding beat the least variance
        raise GenrevError(
            f"no {prior.components} Gaussians fit the encodings, since some of their covariances "
            "are not positive definite; take fewer components."
        ) from error
    covariances = torch.from_numpy(mixture.covariances_)
    full = prior.covariance == "full"
    prior.weights[label] = torch.from_numpy(mixture.weights_)
    prior.means[label] = torch.from_numpy(mixture.means_)
    prior.factors[label] = torch.linalg.cholesky(covariances) if full else covariances.sqrt()
