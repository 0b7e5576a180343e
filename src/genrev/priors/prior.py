"""The contract of a prior, and the priors there are.

A RevNet cannot drop dimensions, so a prior lives on ``k`` chosen *active* dimensions of a latent
space that has as many dimensions ``n`` as (padded) pixels, and pins the other ``n - k`` to zero.
``restrict`` (n to k), ``embed`` (k to n) and ``clamp`` (n to n) lead from one space to the other.

Pinned dimensions have no density. Every density of a prior, ``log_prob`` and ``distribution``, is
that of the k active dimensions, whatever the pinned ones hold; nothing in it is cut at ``bound``.

==================================  ================================================================
``distribution(label)``             of the active dimensions, with the methods of
                                    ``torch.distributions``; event shape (k,), batch shape ()
``log_prob(z, label)``              natural log-density (N,) of the active ones of latents (N, n)
``rsample(n, label, generator)``    latents (n, dim), differentiable in what the prior learns
``sample(n, label, generator)``     the same latents without gradients
``noise``, ``from_noise``           the two halves of ``rsample``: numbers drawn on the CPU, and
                                    what becomes of them where the prior is
==================================  ================================================================

``label`` is ``None`` for all classes together (in samples: in turn), one class, or for
``log_prob``, ``sample`` and ``rsample`` one class for each.
"""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self, SupportsIndex

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call

from genrev import options
from genrev.errors import GenrevError
from genrev.options import Count, Positive
from genrev.registry import Registry
from genrev.words import counted

ActiveDims = Tensor | Sequence[int] | None
"""Indices of active dimensions; ``None`` makes all of them active."""
Labels = SupportsIndex | Sequence[SupportsIndex] | np.ndarray | Tensor | None
"""One class for all samples, one for each of them, or ``None`` for all classes in turn."""


class Prior(nn.Module, ABC):
    """Distribution over the latent space, most of whose dimensions may be pinned to zero.

    A subclass has ``distribution``, of the active dimensions, and that is enough. Its tensors must
    be parameters or buffers. One that makes its samples of simple noise has ``noise`` and
    ``transform``, so that they are made on the device of the prior. One that takes more than the
    arguments below extends ``describe`` and overrides ``start``, one with more options extends
    ``Options``. Registered in ``PRIORS``, it can be saved and loaded.

    Args:
        dim: size n of the full latent space.
        active_dims: their indices, shape (k,), each once; ``None`` makes all dimensions active.
        bound: ``clamp`` cuts active dimensions to [-bound, bound]; ``None`` leaves them alone.
    """

    class Options(options.Options):
        """Options of a prior in training."""

        active_dims: Count | None = None
        """Number of active latent dimensions, those with the largest standard deviation in the
        untrained encodings (with ``factor_out`` those that pass through all stages come first);
        null makes all of them active."""
        bound: Positive | None = None
        """The clamp cuts active dimensions to [-bound, bound]; null does not cut."""

    class_conditional: ClassVar[bool] = False
    """Whether training gives it one distribution for every class of the data."""
    fitted: ClassVar[bool] = False
    """Whether it is fitted to the encodings when the training is over, see ``fit_``."""

    active_dims: Tensor
    num_classes: int = 1
    """Number of classes; 1 for a prior that does not tell classes apart."""

    def __init__(
        self, dim: int, active_dims: ActiveDims = None, bound: float | None = None
    ) -> None:
        super().__init__()
        if (dim := _whole(dim, "dim")) < 1:
            raise ValueError(f"dim must be 1 or more and is {dim}.")
        # On the CPU even where models are built on the meta device: priors look at the indices.
        given = range(dim) if active_dims is None else active_dims
        if np.ndim(given) != 1:
            raise TypeError(
                f"active_dims takes the indices of active dimensions and got {given!r:.80}; give a "
                "list or a range, such as range(8) for the first eight."
            )
        active = torch.as_tensor(given, device="cpu").detach().long()
        if bound is not None and not bound > 0:
            raise ValueError(f"bound must be positive or None and is {bound}.")
        self.dim = dim
        self.bound = bound
        self.register_buffer("active_dims", active)
        self.check()

    @abstractmethod
    def distribution(self, label: int | None = None) -> Distribution:
        """Distribution of the active dimensions, of a class or of all classes, equally frequent.

        Args:
            label: a class; ``None`` for all, or where the prior does not tell classes apart.

        Returns:
            A distribution of event shape (k,) and batch shape (), on the device of the prior.

        Raises:
            ValueError: no such class.
        """

    def extra_repr(self) -> str:
        """What ``repr`` tells."""
        return f"{self.dim} dimensions, {len(self.active_dims)} active"

    def forward(self, label: int | None = None) -> Distribution:
        """The same as ``distribution``."""
        return self.distribution(label)

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """What ``from_noise`` turns into n samples, drawn on the CPU, its first dimension n.

        By default samples of ``distribution`` themselves, (n, k), or of all classes (n, K, k).
        """
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        tensors = {name: tensor.cpu() for name, tensor in tensors.items()}
        classes = [None] if self.num_classes == 1 else range(self.num_classes)
        with _as_default(generator):  # a distribution takes none
            drawn = [self._drawn(functional_call(self, tensors, (label,)), n) for label in classes]
        return drawn[0] if self.num_classes == 1 else torch.stack(drawn, 1)

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Active dimensions (N, k) of samples, from ``noise`` and classes (N,).

        By default the noise has samples of all classes, and this chooses among them.
        """
        if self.num_classes == 1:
            return noise
        index = labels.view(-1, 1, 1).expand(-1, 1, noise.shape[2])
        return noise.gather(1, index).squeeze(1)

    def moments(self, label: int | None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the active dimensions, (k,) each."""
        distribution = self.distribution(label)
        return distribution.mean, distribution.stddev

    # Nobody needs to override what follows, up to the hooks of training.

    @torch.no_grad()
    def sample(
        self, n: int, label: Labels = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents, shape (n, dim); arguments and errors are those of ``rsample``."""
        return self.rsample(n, label, generator)

    def rsample(
        self, n: int, label: Labels = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n latents, shape (n, dim), differentiable in what the prior learns.

        Args:
            n: number of samples.
            label: one class for all, whole numbers (n,) with one class each, or ``None`` to
                cycle through all classes.
            generator: source of the noise, on the CPU for every device.

        Raises:
            TypeError: n or a label is no whole number, or a seed in place of a generator.
            ValueError: a negative n, no such class, or another number of labels than of samples.
            NotImplementedError: the prior learns and its distribution has no ``rsample``.
        """
        n = check_count(n)
        if not isinstance(generator, torch.Generator | None):
            raise TypeError(
                f"generator must be a torch.Generator and is {generator!r}; a seed becomes one by "
                "torch.Generator().manual_seed(seed)."
            )
        device = self.active_dims.device
        labels = labels_for(n, self._asked(label), self.num_classes)
        return self.from_noise(self.noise(n, generator).to(device), labels.to(device))

    def from_noise(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (N, n) from what ``noise`` drew; a prior with classes needs ``labels`` (N,)."""
        if labels is None:
            if self.num_classes > 1:
                raise ValueError("A prior with classes needs the label of every sample.")
            labels = torch.zeros(noise.shape[0], dtype=torch.int64, device=noise.device)
        return self.embed(self.transform(noise, labels))

    def log_prob(self, z: Tensor, label: Labels = None) -> Tensor:
        """Natural log-density (N,) of the active ones of latents, in their k dimensions.

        Args:
            z: latents (N, n); pinned dimensions are ignored.
            label: one class for all, whole numbers (N,) with one class each, or ``None`` for the
                density over all classes.

        Raises:
            TypeError: a label is no whole number.
            ValueError: no such class, or another number of labels than of latents.
        """
        active, label = self.restrict(z), self._asked(label)
        if label is None or not is_several(label):
            number = None if label is None else check_class(label, self.num_classes)  # type: ignore[arg-type]
            found = self.distribution(number).log_prob(active)
            if found.shape != z.shape[:1]:
                raise ValueError(
                    f"The distribution of {type(self).__name__} gives {tuple(found.shape)} numbers "
                    f"for {len(z)} vectors; make it one of vectors by "
                    "torch.distributions.Independent(distribution, 1)."
                )
            return found
        labels = labels_for(len(z), label, self.num_classes).to(z.device)
        found = active.new_empty(len(active))
        for number in labels.unique().tolist():
            rows = labels == number
            found[rows] = self.distribution(number).log_prob(active[rows])
        return found

    def _asked(self, label: Labels) -> Labels:
        """The same, but for a tensor of labels of data where the prior has no classes."""
        return None if self.num_classes == 1 and isinstance(label, Tensor) else label

    def _drawn(self, distribution: Distribution, n: int) -> Tensor:
        """Samples (n, k), differentiable where the distribution is."""
        if distribution.has_rsample:
            return distribution.rsample((n,))
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters()):
            name = type(distribution).__name__
            raise NotImplementedError(f"{name} has no rsample; take sample, without gradients.")
        return distribution.sample((n,))

    def center(self, label: int | None = None) -> Tensor:
        """Mean of every dimension, of a class or of all together; shape (dim,)."""
        return self.embed(self.moments(label)[0].unsqueeze(0))[0]

    def scale(self, label: int | None = None) -> Tensor:
        """Standard deviation of every dimension, shape (dim,); 0 where pinned."""
        return self.embed(self.moments(label)[1].unsqueeze(0))[0]

    def restrict(self, z: Tensor) -> Tensor:
        """Keep the active dimensions: (N, n) to (N, k); ``ValueError`` for another shape."""
        if z.dim() != 2 or z.shape[1] != self.dim:
            raise ValueError(
                f"latents must be of shape (N, {self.dim}) and are {tuple(z.shape)}; those of the "
                "active dimensions alone become so by embed."
            )
        return z.index_select(1, self.active_dims)

    def embed(self, active: Tensor) -> Tensor:
        """Fill the pinned dimensions with zeros: (N, k) to (N, n)."""
        full = active.new_zeros(active.shape[0], self.dim)
        return full.index_copy(1, self.active_dims, active)

    def clamp(self, z: Tensor) -> Tensor:
        """Project (N, n) onto the restricted space: pinned ones to 0, others to [-bound, bound]."""
        active = self.restrict(z)
        return self.embed(active if self.bound is None else active.clamp(-self.bound, self.bound))

    def check(self) -> None:
        """Raise ``ValueError`` for active dimensions out of range or repeated."""
        active = self.active_dims
        if len(active) == 0 or active.min() < 0 or active.max() >= self.dim:
            raise ValueError(f"Active dimensions must be indices from 0 to {self.dim - 1}.")
        if len(active.unique()) != len(active):
            raise ValueError("Active dimensions must not repeat.")

    # Saving, loading and training.

    def describe(self) -> dict[str, Any]:
        """Arguments as plain JSON values, of the active dimensions their number; no tensors."""
        return {"active_dims": len(self.active_dims), "bound": self.bound}

    @classmethod
    def build(cls, described: Mapping[str, Any], dim: int) -> Self:
        """A prior that ``describe`` described, on the first of ``dim`` dimensions until loaded."""
        active_dims = range(int(described["active_dims"]))
        return cls(**{**described, "dim": dim, "active_dims": active_dims})

    @classmethod
    def start(cls, options: Any, dim: int, active_dims: Tensor | None, num_classes: int) -> Self:
        """The untrained prior, from ``cls.Options``; if not ``class_conditional``, for 1 class."""
        return cls(dim, active_dims, options.bound)

    def initialise_(self, means: Tensor, stds: Tensor) -> None:
        """Start from class statistics of encodings, (K, n) each; by default nothing is learned."""

    def project_(self) -> None:
        """Return to values that are allowed, after every optimiser step."""

    def whitened(self, active: Tensor) -> Tensor:
        """Active dimensions (N, k) in units of what the prior follows, centred."""
        mean, std = self.moments(None)
        return (active - mean) / std

    def follow_(self, active: Tensor, rate: float) -> None:
        """Move towards a batch of restricted encodings (N, k), for a prior that is ``fitted``."""

    @property
    def fewest_images(self) -> int:
        """Encodings of every class without which ``fit_`` raises an error."""
        return 1

    def require_encodings(
        self, active: Tensor, labels: Tensor, need: str, cure: Callable[[int], str]
    ) -> None:
        """Check what ``fit_`` is given: finite, and at least ``fewest_images`` of every class.

        Args:
            active: the encodings (N, k).
            labels: their classes (N,).
            need: what is fitted, with its verb.
            cure: of the smallest number of encodings in a class.
        """
        if not active.isfinite().all():
            raise GenrevError(
                "The model's encodings are not finite, so no density fits them; its training has "
                "diverged, so take an earlier checkpoint or train with a smaller learning rate."
            )
        have = int(torch.bincount(labels.cpu(), minlength=self.num_classes).min())
        if have < self.fewest_images:
            found = f"one has {have:,}" if self.num_classes > 1 else f"there are {have:,}"
            raise self.too_few(need, found, cure(have))

    def too_few(self, need: str, found: str, cure: str) -> GenrevError:
        """That there are not the ``fewest_images`` that a fit needs, in one sentence."""
        images = counted(self.fewest_images, "image")
        of_class = " of every class" if self.num_classes > 1 else ""
        return GenrevError(f"{need} {images}{of_class} and {found}; {cure}.")

    def fit_(self, active: Tensor, labels: Tensor, seed: int = 0) -> dict[str, float]:
        """Fit restricted encodings (N, k) with classes (N,), for a prior that is ``fitted``.

        Returns:
            Numbers to report, by name.
        """
        return {}


PRIORS: Registry[type[Prior]] = Registry(
    "prior",
    {
        "gaussian": "genrev.priors.factorised:ActiveGaussian",
        "uniform": "genrev.priors.factorised:ActiveUniform",
        "logistic": "genrev.priors.factorised:ActiveLogistic",
        "class-gaussian": "genrev.priors.class_gaussian:ClassConditionalGaussian",
        "mixture": "genrev.priors.mixture:GaussianMixturePrior",
        "flow": "genrev.priors.spline_flow:FlowPrior",
        "flow-matching": "genrev.priors.flow_matching:FlowMatchingPrior",
        "distribution": "genrev.priors.distribution:DistributionPrior",
    },
    Prior,
)
"""Priors by the name that ``--prior.kind`` takes."""

FITTED = ("mixture", "flow", "flow-matching")
"""Those that ``genrev fit-prior`` fits; a model's info tells of the fit under the same name."""


def moments_of_classes(mean: Tensor, std: Tensor, label: int | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (k,) of a class, or of all, out of those of each, (K, k)."""
    if label is not None:
        number = check_class(label, len(mean))
        return mean[number], std[number]
    spread = mean.var(0, correction=0) + std.square().mean(0)
    return mean.mean(0), spread.sqrt()


def check_class(label: SupportsIndex, num_classes: int) -> int:
    """The label as a Python number; ``TypeError`` unless whole, ``ValueError`` if no class."""
    number = _whole(label, "label")
    if not 0 <= number < num_classes:
        raise ValueError(f"label must lie between 0 and {num_classes - 1} and is {number}.")
    return number


def check_count(n: SupportsIndex) -> int:
    """A number of samples, 0 or more, as a Python number; errors as in ``check_class``."""
    number = _whole(n, "n")
    if number < 0:
        raise ValueError(f"n is a number of samples, 0 or more, and is {number}.")
    return number


def labels_for(n: int, label: Labels, num_classes: int) -> Tensor:
    """Class of each of n samples, int64 of shape (n,) on the CPU, or where a tensor label is."""
    if label is None:
        return torch.arange(n) % num_classes
    if isinstance(label, str | bytes) or not is_several(label):
        return torch.full((n,), check_class(label, num_classes))  # type: ignore[arg-type]
    if not isinstance(label, Tensor | np.ndarray):
        label = [_whole(one, "label") for one in label]  # type: ignore[union-attr]
    labels = torch.as_tensor(label)
    if labels.numel() and (
        labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex()
    ):
        raise TypeError(f"labels must be whole numbers and are {labels.dtype}.")
    if labels.shape != (n,):
        raise ValueError(f"{n} samples need {n} labels and got {tuple(labels.shape)}.")
    labels = labels.long()  # uint8 would be taken for a mask
    for extreme in (labels.min(), labels.max()) if n else ():
        check_class(int(extreme), num_classes)
    return labels


def is_several(label: Any) -> bool:
    """Whether it is a sequence or an array of labels."""
    return label.ndim > 0 if hasattr(label, "ndim") else hasattr(label, "__len__")


@contextmanager
def _as_default(generator: torch.Generator | None) -> Iterator[None]:
    """Within it, what draws on the CPU without a generator draws from this one."""
    if generator is None or generator is torch.default_generator:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator.get_state())
        yield
        generator.set_state(torch.default_generator.get_state())


def _whole(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool:
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number and is {value!r}.") from None


class EqualMixture(Distribution):
    """All classes together: each of the distributions with the same probability.

    Args:
        components: distributions of event shape (k,) and batch shape (), one for every class.
    """

    arg_constraints: ClassVar = {}

    def __init__(self, components: Sequence[Distribution]) -> None:
        self.components = components
        self.has_rsample = all(one.has_rsample for one in components)
        super().__init__(event_shape=components[0].event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean of the means, (k,)."""
        return torch.stack([one.mean for one in self.components]).mean(0)

    @property
    def variance(self) -> Tensor:
        """Mean of the variances, and variance of the means, (k,)."""
        within = torch.stack([one.variance for one in self.components]).mean(0)
        means = torch.stack([one.mean for one in self.components])
        return within + means.var(0, correction=0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, (..., k) to (...)."""
        own = torch.stack([one.log_prob(value) for one in self.components])
        return own.logsumexp(0) - math.log(len(self.components))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples of the shape asked for and (k,), differentiable where the components are."""
        shape = torch.Size(sample_shape)
        drawn = torch.stack(
            [
                one.rsample(shape) if one.has_rsample else one.sample(shape)
                for one in self.components
            ]
        )
        chosen = torch.randint(len(drawn), (1, *shape, 1), device=drawn.device)
        return drawn.gather(0, chosen.expand(1, *drawn.shape[1:])).squeeze(0)
