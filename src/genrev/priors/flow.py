r"""What flows share: a bijection of a trained model's encodings to a standard normal.

A flow first whitens the active dimensions z with the Gaussian :math:`\mathcal{N}(\mu_c, L_c L_c^T)`
of their class c, and goes on with a bijection h, which is the identity at first:

.. math::
   w = L_c^{-1} (z - \mu_c), \qquad
   \log p(z \mid c) = \log \mathcal{N}(h_c(w)) + \log |\det h_c'(w)| - \log \det L_c .

So it starts as good as a Gaussian for every class. Until it is fitted, it is one Gaussian for all,
which follows the batches of a training.
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, constraints
from torch.nn import functional as F

from genrev.priors.expectation import LEAST_VARIANCE, followed
from genrev.priors.prior import ActiveDims, EqualMixture, Prior, check_class, moments_of_classes
from genrev.progress import Bar
from genrev.seeding import noise_generator, seeded_weights, shuffled

Encodings = tuple[Tensor, Tensor]
"""Whitened active dimensions (N, k), and their classes (N,)."""

_FEWEST = 20  # encodings of a class
_HELD_OUT = 10  # one encoding in so many
_AT_ONCE = 4096  # samples; bounds the memory


class Flow(Prior):
    """A bijection per class on the active dimensions, zero elsewhere.

    A subclass has ``build_``, ``to_normal``, ``from_normal`` and ``learn_``. Classes share its
    weights, which are told the class, and each has the Gaussian that it is whitened with.

    Args:
        num_classes: number K of classes; 1 for data without labels.
        dim, active_dims, bound: see ``Prior``; it bounds clamped encodings, not samples.
        layers, hidden, steps: depth and width of what learns, and steps of a fit; by default those
            of ``Options``, which a subclass has.

    Raises:
        ValueError: a number below 1.
    """

    class Options(Prior.Options):
        """Options of a flow; until it is fitted, it is one Gaussian that follows the batches."""

        by_class: bool = False
        """Fit a flow that knows the classes, where the data have labels. With a class-conditional
        network (``network.context``) it does in any case."""

    fitted = True
    samples_for_moments: ClassVar[int] = 20_000
    """Samples of every class that mean and standard deviation are measured on."""

    loc: Tensor
    factors: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        active_dims: ActiveDims = None,
        bound: float | None = None,
        layers: int | None = None,
        hidden: int | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__(dim, active_dims, bound)
        usual: Any = self.Options()
        self.layers: int = usual.layers if layers is None else layers
        self.hidden: int = usual.hidden if hidden is None else hidden
        self.steps: int = usual.steps if steps is None else steps
        if min(num_classes, self.layers, self.hidden, self.steps) < 1:
            raise ValueError("A flow has 1 or more classes, layers, hidden units and steps.")
        k = len(self.active_dims)
        self.num_classes = num_classes
        self.register_buffer("loc", torch.zeros(num_classes, k))
        self.register_buffer("factors", torch.eye(k).expand(num_classes, k, k).clone())
        self.register_buffer("mean", torch.zeros(num_classes, k))
        self.register_buffer("std", torch.ones(num_classes, k))
        self.build_(k, self._told)

    @property
    def _told(self) -> int:
        """Numbers that ``context`` has of the class: K, or 0."""
        return self.num_classes if self.num_classes > 1 else 0

    @abstractmethod
    def build_(self, k: int, classes: int) -> None:
        """Make the modules that learn, of k dimensions and told K classes, or 0; the identity."""

    @abstractmethod
    def to_normal(self, white: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Whitened encodings (N, k) as normal numbers (N, k), and the log-determinant (N,).

        ``context`` has the class, one of K (N, K), or nothing (N, 0).
        """

    @abstractmethod
    def from_normal(self, normal: Tensor, context: Tensor) -> Tensor:
        """Normal numbers (N, k) as whitened encodings (N, k)."""

    @abstractmethod
    def learn_(self, train: Encodings, held: Encodings, seed: int) -> tuple[int, Tensor]:
        """Learn from encodings, and keep the weights that are best for those that are held out.

        Returns:
            Steps done, and the log-densities of what is held out, or of some of it, (n,).
        """

    def distribution(self, label: int | None = None) -> Distribution:
        """The flow of a class, or a mixture of those of all classes."""
        if label is None and self.num_classes > 1:
            return EqualMixture([self.distribution(one) for one in range(self.num_classes)])
        return FlowDistribution(self, check_class(label or 0, self.num_classes))

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal, shape (n, k)."""
        return torch.randn(n, len(self.active_dims), generator=generator)

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Through the inverse of the flow, (N, k)."""
        if torch.compiler.is_compiling():  # an exported program has any number of rows
            return self.coloured(noise.to(self.loc), labels)
        parts = zip(noise.to(self.loc).split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
        return torch.cat([self.coloured(*part) for part in parts])

    def moments(self, label: int | None) -> tuple[Tensor, Tensor]:
        """Those of samples that were drawn when it was fitted, (k,) each."""
        return moments_of_classes(self.mean, self.std, label)

    def describe(self) -> dict[str, Any]:
        """Arguments of the class as plain JSON values."""
        own = {"layers": self.layers, "hidden": self.hidden}
        return {"num_classes": self.num_classes, **super().describe(), **own}

    @classmethod
    def start(cls, options: Any, dim: int, active_dims: Tensor | None, num_classes: int) -> Self:
        """Standard normals."""
        size = options.layers, options.hidden, options.steps
        started = cls(num_classes, dim, active_dims, options.bound, *size)
        return started.requires_grad_(False)  # weights learn in ``fit_`` alone

    @torch.no_grad()
    def follow_(self, active: Tensor, rate: float) -> None:
        """Let all Gaussians follow batches (N, k), averaged exponentially."""
        mean, factor = followed(active, self.loc[0], self.factors[0], rate)
        self.loc.copy_(mean)
        self.factors.copy_(factor)
        self.mean.copy_(mean)
        self.std.copy_(factor.square().sum(1).sqrt())

    def whitened(self, active: Tensor) -> Tensor:
        """Active dimensions (N, k) of mean 0 and covariance 1, while the flow follows them."""
        return self.white(active, 0)

    def fit_(self, active: Tensor, labels: Tensor, seed: int = 0) -> dict[str, float]:
        """Fit the encodings (N, k) with classes (N,), where they are.

        One in ten is held out; the weights that are best for these are kept.

        Returns:
            ``held_out_log_prob``, mean of held-out encodings in nats, each in its own class;
            ``held_out_gaussian``, the same of the Gaussians that it began with; ``steps``.

        Raises:
            GenrevError: encodings that are not finite, or too few of a class.
        """
        cure = "take --data with more images, or --kind mixture with fewer --components"
        self.require_encodings(active, labels, "A flow needs", lambda _: cure)
        labels = labels.to(active.device)
        held_out = _one_in(_HELD_OUT, labels, seed).to(active.device)
        self._fit_gaussians(active[~held_out], labels[~held_out])
        white = torch.cat([self.white(active[labels == c], c) for c in range(self.num_classes)])
        order = torch.cat([(labels == c).nonzero()[:, 0] for c in range(self.num_classes)])
        labels, held_out = labels[order], held_out[order]
        train, held = (white[~held_out], labels[~held_out]), (white[held_out], labels[held_out])
        # Weights of before would bind a second fit to the first.
        with seeded_weights(seed, "flow"):
            self.build_(active.shape[1], self._told)
        steps, found = self.to(active.device).learn_(train, held, seed)
        self._measure_moments()
        volume = float(self.factors.diagonal(0, 1, 2).log().sum(1)[held[1]].mean())
        return {
            "held_out_log_prob": float(found.mean()) - volume,
            "held_out_gaussian": float(log_normal(held[0]).mean()) - volume,
            "steps": steps,
        }

    @property
    def fewest_images(self) -> int:
        """20, of every class."""
        return _FEWEST

    @torch.no_grad()
    def _fit_gaussians(self, active: Tensor, labels: Tensor) -> None:
        """Mean and covariance of every class, the latter drawn to that within all classes."""
        double = active.to("cpu" if active.device.type == "mps" else active.device).double()
        labels, k = labels.to(double.device), double.shape[1]
        parts = [double[labels == c] for c in range(self.num_classes)]
        means = torch.stack([part.mean(0) for part in parts])
        scatters = [
            (part - mean).T @ (part - mean) for part, mean in zip(parts, means, strict=True)
        ]
        within = torch.stack(scatters).sum(0) / len(double)
        factors = []
        for part, scatter in zip(parts, scatters, strict=True):
            # As if there were k more encodings of an average class: few alone span no covariance.
            covariance = (scatter + k * within) / (len(part) + k)
            covariance.diagonal().add_(LEAST_VARIANCE)
            factors.append(torch.linalg.cholesky(covariance))
        self.loc.copy_(means)
        self.factors.copy_(torch.stack(factors))

    def white(self, active: Tensor, label: int) -> Tensor:
        """Active dimensions (N, k) in units of the Gaussian of a class."""
        centred = (active - self.loc[label]).to(self.factors)
        return torch.linalg.solve_triangular(self.factors[label], centred.T, upper=False).T

    def coloured(self, normal: Tensor, labels: Tensor) -> Tensor:
        """Normal numbers (N, k) as active dimensions (N, k)."""
        white = self.from_normal(normal, self.context(labels))
        if self.num_classes == 1:
            return self.loc[0] + white @ self.factors[0].T
        # Of all classes, since a matrix for every sample would be larger.
        coloured = torch.einsum("nk,cjk->ncj", white, self.factors)
        index = labels.view(-1, 1, 1).expand(-1, 1, coloured.shape[2])
        return self.loc[labels] + coloured.gather(1, index).squeeze(1)

    def context(self, labels: Tensor) -> Tensor:
        """What the flow is told of the class: one of K (N, K), or nothing (N, 0)."""
        if self.num_classes == 1:
            return self.loc.new_zeros(labels.shape[0], 0)
        return F.one_hot(labels, self.num_classes).to(self.loc)

    @torch.no_grad()
    def _measure_moments(self) -> None:
        n, here = self.samples_for_moments, self.loc.device
        with Bar("moments of the flow", self.num_classes * n, "samples") as bar:
            for label in range(self.num_classes):
                normal = self.noise(n, noise_generator(0, label, "flow moments")).to(here)
                parts = []
                for part in normal.chunk(8):
                    labels = torch.full((len(part),), label, device=here)
                    parts.append(self.transform(part, labels))
                    bar.update(len(part))
                active = torch.cat(parts)
                self.mean[label], self.std[label] = active.mean(0), active.std(0)


class FlowDistribution(Distribution):
    """The flow of a class as a distribution of active dimensions, event shape (k,).

    Attributes:
        transform: from active dimensions to normal numbers.
    """

    arg_constraints: ClassVar = {}
    has_rsample = True

    def __init__(self, prior: Flow, label: int) -> None:
        self.transform = _ToNormal(prior, label)
        self._like = prior.loc[label]
        super().__init__(event_shape=self._like.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, (..., k) to (...)."""
        normal, log_det = self.transform.call_and_ladj(value)
        return log_det + log_normal(normal)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples of the shape asked for and (k,)."""
        shape = (*torch.Size(sample_shape), *self.event_shape)
        like = self._like
        return self.transform.inv(torch.randn(shape, dtype=like.dtype, device=like.device))


class _ToNormal(Transform):
    """The flow of a class as a transform, from active dimensions (..., k) to normal numbers."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, prior: Flow, label: int) -> None:
        super().__init__()
        self._prior, self._label = prior, label

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The normal numbers, and the log-determinant (...)."""
        rows, prior = x.reshape(-1, x.shape[-1]), self._prior
        white = prior.white(rows, self._label)
        normal, log_det = prior.to_normal(white, prior.context(self._labels(rows)))
        log_det = log_det - prior.factors[self._label].diagonal().log().sum()
        return normal.view(x.shape), log_det.view(x.shape[:-1])

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        rows = y.reshape(-1, y.shape[-1])
        return self._prior.coloured(rows, self._labels(rows)).view(y.shape)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The log-determinant (...)."""
        return self.call_and_ladj(x)[1]

    def _labels(self, rows: Tensor) -> Tensor:
        return torch.full((rows.shape[0],), self._label, device=rows.device)


def log_normal(normal: Tensor) -> Tensor:
    """Log-density (...) of standard normal numbers (..., k)."""
    return -(normal.square() + math.log(2 * math.pi)).sum(-1) / 2


def _one_in(many: int, labels: Tensor, seed: int) -> Tensor:
    """A mask (N,) on the CPU of one in so many of every class, at random."""
    order = torch.from_numpy(shuffled(len(labels), seed, "held out"))
    by_class = order[labels.cpu()[order].argsort(stable=True)]
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[by_class[::many]] = True
    return mask
