r"""A normalizing flow of splines, fitted to the encodings of a trained model.

Where encodings are more than a few dozen numbers, mixtures of Gaussians no longer fit: each
covariance has k² numbers of its own. Couplings of rational-quadratic splines are inverted as fast
as they are computed. Beyond 5 standard deviations a spline is the identity, so tails are those of
the Gaussian that encodings are whitened with, see ``genrev.priors.flow``.

References: Durkan et al., "Neural spline flows" (2019), Section 3; splines are those of ``zuko``
(the extra ``flows``).
"""

import copy
import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from genrev import extras
from genrev.options import Count, OptionError
from genrev.priors.flow import Encodings, Flow, log_normal
from genrev.progress import Bar
from genrev.seeding import noise_generator, shuffled

if TYPE_CHECKING:
    from zuko.transforms import MonotonicRQSTransform

_BINS = 8  # of a spline
_BATCH, _LR, _CLIP = 256, 1e-3, 5.0
_EVERY = 100  # steps between two looks at what is held out
_PATIENCE, _RATES = 8, 3  # looks without a gain until the rate falls; rates in all
_AT_ONCE = 4096  # encodings; bounds the memory of splines


class FlowPrior(Flow):
    """Flow of spline couplings per class on the active dimensions, zero elsewhere.

    A new one is standard normal; ``fit_`` fits it, by maximum likelihood, and ends when what is
    held out gains no more.

    Args:
        num_classes, dim, active_dims, bound: see ``Flow``. Two dimensions or more must be active.
        layers: number of couplings.
        hidden: width of their networks.
        steps: most steps of a fit.

    Raises:
        GenrevError: ``zuko`` is not installed.
        ValueError: a number below 1, or a single active dimension.
    """

    class Options(Flow.Options):
        """Options of a flow of splines; until it is fitted, one Gaussian follows the batches."""

        layers: Count = 6
        """Couplings of the flow that is fitted to the encodings when the training is over, as
        ``genrev fit-prior --kind flow`` does (to those of a sample, where data are streamed)."""
        hidden: Count = 128
        """Width of their networks."""
        steps: Count = 10_000
        """Most steps of that fit, which ends when held-out encodings gain no more."""

    def build_(self, k: int, classes: int) -> None:
        """The couplings, each the identity."""
        extras.require("flows")
        if k < 2:
            raise OptionError(
                "A flow of splines needs 2 active dimensions or more; take a mixture (--prior "
                "mixture of a training, --kind mixture of `genrev fit-prior`)."
            )
        self.couplings = nn.ModuleList(
            _SplineCoupling(k, classes, self.hidden, number) for number in range(self.layers)
        )

    def check(self) -> None:
        """Raise ``ValueError`` for active dimensions or couplings that are none."""
        super().check()
        for coupling in getattr(self, "couplings", ()):
            order = coupling.order.cpu()
            if not torch.equal(order.sort().values, torch.arange(len(order), device="cpu")):
                raise ValueError("A coupling of a flow must have every dimension once.")

    def to_normal(self, white: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Through the couplings."""
        log_det = torch.zeros_like(white[:, 0])
        for coupling in self._all:
            white, own = coupling(white, context)
            log_det = log_det + own
        return white, log_det

    def from_normal(self, normal: Tensor, context: Tensor) -> Tensor:
        """Back through the couplings."""
        for coupling in reversed(self._all):
            normal = coupling.inverse(normal, context)
        return normal

    @property
    def _all(self) -> list["_SplineCoupling"]:
        return cast(list[_SplineCoupling], [*self.couplings])

    def learn_(self, train: Encodings, held: Encodings, seed: int) -> tuple[int, Tensor]:
        """Maximise the likelihood; what is held out is looked at as a whole."""
        parameters, generator = [*self.couplings.parameters()], noise_generator(seed, 0, "flow")
        best, weights = self._held_out(held), copy.deepcopy(self.couplings.state_dict())
        rate, waited, rates, order = _LR, 0, 1, torch.empty(0, dtype=torch.int64)
        optimizer = torch.optim.AdamW(parameters, rate)
        bar = Bar("flow", self.steps, "steps")
        with bar, torch.enable_grad():
            for step in range(self.steps + 1):
                if step and (step % _EVERY == 0 or step == self.steps):
                    found = self._held_out(held)
                    waited += 1
                    if found.mean() > best.mean():
                        best, waited = found, 0
                        weights = copy.deepcopy(self.couplings.state_dict())
                    gain = float(best.mean() - log_normal(held[0]).mean()) / train[0].shape[1]
                    told = f"held out {gain:+.4f} nats a dimension beyond a Gaussian"
                    bar.set_postfix_str(f"{told}, rate {rate:.1e}")
                    if waited == _PATIENCE or not math.isfinite(found.mean()):
                        self.couplings.load_state_dict(weights)
                        rate, waited, rates = rate / 5, 0, rates + 1
                        optimizer = torch.optim.AdamW(parameters, rate)
                    if rates > _RATES or step == self.steps:
                        break
                if len(order) < min(_BATCH, len(train[0])):
                    order = torch.randperm(len(train[0]), generator=generator)
                rows, order = order[:_BATCH].to(train[0].device), order[_BATCH:]
                optimizer.zero_grad()
                (-self._log_prob(train[0][rows], train[1][rows]).mean()).backward()
                nn.utils.clip_grad_norm_(parameters, _CLIP)
                optimizer.step()
                bar.update()
        self.couplings.load_state_dict(weights)
        return step, best

    @torch.no_grad()
    def _held_out(self, held: Encodings) -> Tensor:
        """Log-densities (N,) of whitened encodings, a part at a time."""
        parts = zip(held[0].split(_AT_ONCE), held[1].split(_AT_ONCE), strict=True)
        return torch.cat([self._log_prob(*part) for part in parts])

    def _log_prob(self, white: Tensor, labels: Tensor) -> Tensor:
        normal, log_det = self.to_normal(white, self.context(labels))
        return log_det + log_normal(normal)


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
