r"""A normalizing flow, fitted to the encodings of a trained model.

Where encodings are more than a few dozen numbers, mixtures of Gaussians no longer fit: each
covariance has k² numbers of its own. A flow is a bijection h of the active dimensions to a standard
normal,

.. math:: \log p(z \mid c) = \log \mathcal{N}(h_c(z)) + \log |\det h_c'(z)| .

It first whitens encodings with the Gaussian of their class c, so that it starts as good as that,
and goes on with couplings of rational-quadratic splines, which are inverted as fast as they are
computed. Beyond 5 standard deviations a spline is the identity, so tails are those of the Gaussian.

References: Durkan et al., "Neural spline flows" (2019), Section 3; splines and distribution are
those of ``zuko`` (the extra ``flows``).
"""

import copy
import math
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, Transform, constraints
from torch.nn import functional as F

from genrev import extras
from genrev.options import Count, OptionError
from genrev.priors.expectation import LEAST_VARIANCE, followed
from genrev.priors.prior import EqualMixture, Prior, check_class, moments_of_classes
from genrev.progress import Bar, track
from genrev.seeding import noise_generator, seeded_weights, shuffled

if TYPE_CHECKING:
    from zuko.transforms import MonotonicRQSTransform

_BINS = 8  # of a spline
_FEWEST = 20  # encodings of a class
_HELD_OUT = 10  # one encoding in so many
_BATCH, _LR, _CLIP = 256, 1e-3, 5.0
_EVERY = 100  # steps between two looks at what is held out
_PATIENCE, _RATES = 8, 3  # looks without a gain until the rate falls; rates in all
_AT_ONCE = 4096  # samples or encodings; bounds the memory of splines
_MOMENTS_OF = 20_000  # samples of a class


class FlowPrior(Prior):
    """Flow of spline couplings per class on the active dimensions, zero elsewhere.

    A new one is standard normal; ``fit_`` fits it. Classes share the couplings, which are told the
    class, and each has the Gaussian that it is whitened with.

    Args:
        num_classes: number K of classes; 1 for data without labels.
        dim, active_dims, bound: see ``Prior``; it bounds clamped encodings, not samples. Two
            dimensions or more must be active.
        layers: number of couplings.
        hidden: width of their networks.
        steps: most steps of a fit.

    Raises:
        GenrevError: ``zuko`` is not installed.
        ValueError: a number below 1, or a single active dimension.
    """

    class Options(Prior.Options):
        """Options of a flow; until it is fitted, it is one Gaussian that follows the batches."""

        layers: Count = 6
        """Couplings of the flow that is fitted to the encodings when the training is over, as
        ``genrev fit-prior --kind flow`` does (to those of a sample, where data are streamed)."""
        hidden: Count = 128
        """Width of their networks."""
        steps: Count = 10_000
        """Most steps of that fit, which ends when held-out encodings gain no more."""
        by_class: bool = False
        """Fit a flow that knows the classes, where the data have labels. With a network that is
        told classes (``network.context``) it does in any case."""

    fitted = True

    loc: Tensor
    factors: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        active_dims: Tensor | None = None,
        bound: float | None = None,
        layers: int = 6,
        hidden: int = 128,
        steps: int = 10_000,
    ) -> None:
        super().__init__(dim, active_dims, bound)
        if min(num_classes, layers, hidden, steps) < 1:
            raise ValueError("A flow has 1 or more classes, layers, hidden units and steps.")
        extras.require("flows")
        k = len(self.active_dims)
        if k < 2:
            raise OptionError(
                "A flow needs 2 active dimensions or more; take a mixture (--prior mixture of a "
                "training, --kind mixture of `genrev fit-prior`)."
            )
        self.num_classes, self.steps = num_classes, steps
        self.layers, self.hidden = layers, hidden
        self.register_buffer("loc", torch.zeros(num_classes, k))
        self.register_buffer("factors", torch.eye(k).expand(num_classes, k, k).clone())
        self.register_buffer("mean", torch.zeros(num_classes, k))
        self.register_buffer("std", torch.ones(num_classes, k))
        classes = num_classes if num_classes > 1 else 0
        self.couplings = nn.ModuleList(
            _SplineCoupling(k, classes, hidden, number) for number in range(layers)
        )

    def distribution(self, label: int | None = None) -> Distribution:
        """A ``zuko.distributions.NormalizingFlow``, or a mixture of those of all classes."""
        if label is None and self.num_classes > 1:
            return EqualMixture([self.distribution(one) for one in range(self.num_classes)])
        from zuko.distributions import NormalizingFlow

        number = check_class(label or 0, self.num_classes)
        normal = Normal(torch.zeros_like(self.loc[0]), 1.0, validate_args=False)
        base = Independent(normal, 1, validate_args=False)
        flow: Distribution = NormalizingFlow(_ToNormal(self, number), base)
        return flow

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal, shape (n, k)."""
        return torch.randn(n, len(self.active_dims), generator=generator)

    def transform(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Through the inverse of the flow, (N, k)."""
        if torch.compiler.is_compiling():  # an exported program has any number of rows
            return self._inverse(noise.to(self.loc), labels)
        parts = zip(noise.to(self.loc).split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
        return torch.cat([self._inverse(*part) for part in parts])

    def moments(self, label: int | None) -> tuple[Tensor, Tensor]:
        """Those of samples that were drawn when it was fitted, (k,) each."""
        return moments_of_classes(self.mean, self.std, label)

    def check(self) -> None:
        """Raise ``ValueError`` for active dimensions or couplings that are none."""
        super().check()
        for coupling in getattr(self, "couplings", ()):
            order = coupling.order.cpu()
            if not torch.equal(order.sort().values, torch.arange(len(order), device="cpu")):
                raise ValueError("A coupling of a flow must have every dimension once.")

    def describe(self) -> dict[str, Any]:
        """Arguments of the class as plain JSON values."""
        own = {"layers": self.layers, "hidden": self.hidden}
        return {"num_classes": self.num_classes, **super().describe(), **own}

    @classmethod
    def start(cls, options: Any, dim: int, active_dims: Tensor | None, num_classes: int) -> Self:
        """Standard normals."""
        size = options.layers, options.hidden, options.steps
        started = cls(num_classes, dim, active_dims, options.bound, *size)
        started.couplings.requires_grad_(False)  # they learn in ``fit_`` alone
        return started

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
        return self._white(active, 0)

    def fit_(self, active: Tensor, labels: Tensor, seed: int = 0) -> dict[str, float]:
        """Fit the encodings (N, k) with classes (N,) by maximum likelihood, where they are.

        One in ten is held out; the fit ends when these gain no more, with the weights that they
        were likeliest under.

        Returns:
            ``held_out_log_prob``, mean of the held-out encodings in nats, each in its own class;
            ``held_out_gaussian``, the same of the Gaussians that it began with; ``steps``.

        Raises:
            GenrevError: encodings that are not finite, or too few of a class.
        """
        cure = "take --data with more images, or --kind mixture with fewer --components"
        self.require_encodings(active, labels, "A flow needs", lambda _: cure)
        labels = labels.to(active.device)
        held_out = _one_in(_HELD_OUT, labels, seed).to(active.device)
        self._fit_gaussians(active[~held_out], labels[~held_out])
        white = torch.cat([self._white(active[labels == c], c) for c in range(self.num_classes)])
        order = torch.cat([(labels == c).nonzero()[:, 0] for c in range(self.num_classes)])
        labels, held_out = labels[order], held_out[order]
        # Weights of before would bind a second fit to the first.
        with seeded_weights(seed, "flow"):
            for coupling in self._all:
                coupling.reset()
        volume = self.factors.diagonal(0, 1, 2).log().sum(1)[labels[held_out]].mean()
        train, held = (white[~held_out], labels[~held_out]), (white[held_out], labels[held_out])
        gaussian = float(self._white_log_prob(*held).mean() - volume)
        steps, best = self._train(train, held, float(volume), seed)
        self._measure_moments()
        return {"held_out_log_prob": best, "held_out_gaussian": gaussian, "steps": steps}

    @property
    def _all(self) -> list["_SplineCoupling"]:
        return cast(list[_SplineCoupling], [*self.couplings])

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

    def _train(
        self, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], volume: float, seed: int
    ) -> tuple[int, float]:
        """Train the couplings on whitened encodings; steps, and best held-out log-density."""
        parameters, generator = [*self.couplings.parameters()], noise_generator(seed, 0, "flow")
        self.couplings.requires_grad_(True)
        best, weights = -math.inf, copy.deepcopy(self.couplings.state_dict())
        rate, waited, rates, order = _LR, 0, 1, torch.empty(0, dtype=torch.int64)
        optimizer = torch.optim.AdamW(parameters, rate)
        bar = Bar("flow", self.steps, "steps")
        with bar, torch.enable_grad():
            for step in range(self.steps + 1):
                if step % _EVERY == 0 or step == self.steps:
                    found = float(self._white_log_prob(*held).mean()) - volume
                    waited += 1
                    if found > best:
                        best, waited = found, 0
                        weights = copy.deepcopy(self.couplings.state_dict())
                    per_dim = best / len(self.active_dims)
                    bar.set_postfix_str(f"held out {per_dim:.4f} nats a dimension, rate {rate:.1e}")
                    if waited == _PATIENCE or not math.isfinite(found):
                        self.couplings.load_state_dict(weights)
                        rate, waited, rates = rate / 5, 0, rates + 1
                        optimizer = torch.optim.AdamW(parameters, rate)
                    if rates > _RATES or step == self.steps:
                        break
                if len(order) < min(_BATCH, len(train[0])):
                    order = torch.randperm(len(train[0]), generator=generator)
                rows, order = order[:_BATCH].to(train[0].device), order[_BATCH:]
                optimizer.zero_grad()
                (-self._flow_log_prob(train[0][rows], train[1][rows]).mean()).backward()
                nn.utils.clip_grad_norm_(parameters, _CLIP)
                optimizer.step()
                bar.update()
        self.couplings.load_state_dict(weights)
        return step, best

    @torch.no_grad()
    def _white_log_prob(self, white: Tensor, labels: Tensor) -> Tensor:
        """Log-density (N,) of whitened encodings (N, k), a part at a time."""
        parts = zip(white.split(_AT_ONCE), labels.split(_AT_ONCE), strict=True)
        return torch.cat([self._flow_log_prob(*part) for part in parts])

    def _flow_log_prob(self, white: Tensor, labels: Tensor) -> Tensor:
        """Log-density (N,) of whitened encodings (N, k) of classes (N,)."""
        normal, log_det = self._to_normal(white, self._context(labels))
        return log_det - (normal.square() + math.log(2 * math.pi)).sum(1) / 2

    def _to_normal(self, white: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Through the couplings: (N, k), and the log-determinant (N,)."""
        log_det = torch.zeros_like(white[:, 0])
        for coupling in self._all:
            white, own = coupling(white, context)
            log_det = log_det + own
        return white, log_det

    def _inverse(self, normal: Tensor, labels: Tensor) -> Tensor:
        """From normal numbers (N, k) to the active dimensions."""
        context = self._context(labels)
        for coupling in reversed(self._all):
            normal = coupling.inverse(normal, context)
        if self.num_classes == 1:
            return self.loc[0] + normal @ self.factors[0].T
        # Of all classes, since a matrix for every sample would be larger.
        coloured = torch.einsum("nk,cjk->ncj", normal, self.factors)
        index = labels.view(-1, 1, 1).expand(-1, 1, coloured.shape[2])
        return self.loc[labels] + coloured.gather(1, index).squeeze(1)

    def _white(self, active: Tensor, label: int) -> Tensor:
        """Active dimensions (N, k) in units of the Gaussian of a class."""
        centred = (active - self.loc[label]).to(self.factors)
        return torch.linalg.solve_triangular(self.factors[label], centred.T, upper=False).T

    def _context(self, labels: Tensor) -> Tensor:
        """What the couplings are told of the class: one of K (N, K), or nothing (N, 0)."""
        if self.num_classes == 1:
            return self.loc.new_zeros(labels.shape[0], 0)
        return F.one_hot(labels, self.num_classes).to(self.loc)

    @torch.no_grad()
    def _measure_moments(self) -> None:
        for label in track(range(self.num_classes), "moments of the flow", "classes"):
            normal = self.noise(_MOMENTS_OF, noise_generator(0, label, "flow moments"))
            labels = torch.full((_MOMENTS_OF,), label, device=self.loc.device)
            active = self.transform(normal.to(self.loc.device), labels)
            self.mean[label], self.std[label] = active.mean(0), active.std(0)


class _SplineCoupling(nn.Module):
    """Half of k dimensions moves by splines that a network makes of the other half and the class.

    It is the identity at first.
    """

    order: Tensor

    def __init__(self, k: int, classes: int, hidden: int, number: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.from_numpy(shuffled(k, 0, "coupling", number)))
        kept = k // 2
        self.net = nn.Sequential(
            nn.Linear(kept + classes, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, (k - kept) * (3 * _BINS - 1)),
        )
        self.reset()

    def reset(self) -> None:
        """Weights of a new one."""
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Both (N, k) and (N, K) to (N, k) and the log-determinant (N,)."""
        spline, moved = self._split(x, context)
        y, log_slopes = spline.call_and_ladj(x.index_select(1, moved))
        return x.index_copy(1, moved, y), log_slopes.sum(1)

    def inverse(self, y: Tensor, context: Tensor) -> Tensor:
        """The x that ``forward`` made y of, (N, k)."""
        spline, moved = self._split(y, context)
        return y.index_copy(1, moved, spline._inverse(y.index_select(1, moved)))

    def _split(self, x: Tensor, context: Tensor) -> tuple["MonotonicRQSTransform", Tensor]:
        """The splines, and which dimensions they move."""
        from zuko.transforms import MonotonicRQSTransform

        kept, moved = self.order.tensor_split([self.order.shape[0] // 2])
        made = self.net(torch.cat((x.index_select(1, kept), context), 1))
        made = made.unflatten(1, (moved.shape[0], 3 * _BINS - 1))
        parts = made.split([_BINS, _BINS, _BINS - 1], 2)
        return MonotonicRQSTransform(*parts), moved


class _ToNormal(Transform):
    """The flow of a class as a transform, from active dimensions (..., k) to normal numbers."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, prior: FlowPrior, label: int) -> None:
        super().__init__()
        self._prior, self._label = prior, label

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As ``zuko`` has it: the normal numbers, and the log-determinant (...)."""
        rows, prior = x.reshape(-1, x.shape[-1]), self._prior
        white = prior._white(rows, self._label)
        normal, log_det = prior._to_normal(white, prior._context(self._labels(rows)))
        log_det = log_det - prior.factors[self._label].diagonal().log().sum()
        return normal.view(x.shape), log_det.view(x.shape[:-1])

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        rows = y.reshape(-1, y.shape[-1])
        return self._prior._inverse(rows, self._labels(rows)).view(y.shape)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The log-determinant (...)."""
        return self.call_and_ladj(x)[1]

    def _labels(self, rows: Tensor) -> Tensor:
        return torch.full((rows.shape[0],), self._label, device=rows.device)


def _one_in(many: int, labels: Tensor, seed: int) -> Tensor:
    """A mask (N,) on the CPU of one in so many of every class, at random."""
    order = torch.from_numpy(shuffled(len(labels), seed, "held out"))
    by_class = order[labels.cpu()[order].argsort(stable=True)]
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[by_class[::many]] = True
    return mask
