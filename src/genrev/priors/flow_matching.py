r"""A flow that learns by flow matching: a velocity field which carries noise to encodings.

A network v is fitted to the straight lines from normal noise :math:`w_0` to whitened encodings
:math:`w_1`,

.. math::
   \min_v \; \mathbb{E} \lVert v((1 - t) w_0 + t w_1, t, c) - (w_1 - w_0) \rVert^2 ,

with :math:`t = 1 / (1 + e^{-n})` of a normal n, so that most of it is spent halfway. Samples follow
:math:`\dot w = v(w, t, c)` from t = 0 to 1. A fit needs no determinants and bounds nothing, so the
network is free, and samples come out better than those of a mixture or of splines where encodings
have a hundred dimensions (docs/results-faces.md). Densities are slow instead: they integrate the
divergence of v, which takes one derivative per dimension.

References: Lipman et al., "Flow matching for generative modeling" (2023); Esser et al., "Scaling
rectified flow transformers for high-resolution image synthesis" (2024), Section 3.1, for the times;
Peebles and Xie, "Scalable diffusion models with transformers" (2023), for how layers are told t
and c; Grathwohl et al., "FFJORD" (2019), for densities.
"""

import copy
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrev.options import Count
from genrev.priors.flow import Encodings, Flow, log_normal
from genrev.progress import Bar
from genrev.seeding import noise_generator

_STEPS = 12  # of Runge and Kutta's method of fourth order, from noise to encodings
_BATCH, _LR, _CLIP = 512, 1e-3, 1.0
_WARM_UP, _EMA = 200, 0.999
_RECORDED = 3  # steps before one is recorded, which create what the optimiser keeps
_EVERY = 250  # steps between two looks at what is held out
_MEASURED = 1000  # held-out encodings, of which a density is reported
_FREQUENCIES, _FASTEST = 32, 1000.0
_EPSILON = 1e-5  # of the variance in a norm
_PROBES = 16  # at once; bounds the memory of a density


class FlowMatchingPrior(Flow):
    """Flow along a learned velocity field per class on the active dimensions, zero elsewhere.

    A new one is standard normal; ``fit_`` fits it, by flow matching, and keeps a moving average of
    the weights from where its error on what is held out is smallest.

    Args:
        num_classes, dim, active_dims, bound: see ``Flow``.
        layers: residual blocks of the network.
        hidden: its width.
        steps: steps of a fit, on 512 encodings each.

    Raises:
        ValueError: a number below 1.

    Example:
        >>> prior = FlowMatchingPrior(1, 6, torch.tensor([1, 4]), layers=1, hidden=16, steps=20)
        >>> encodings = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)) + 3
        >>> sorted(prior.fit_(encodings, torch.zeros(200, dtype=torch.int64)))
        ['held_out_gaussian', 'held_out_log_prob', 'steps']
        >>> prior.sample(5).shape
        torch.Size([5, 6])
    """

    class Options(Flow.Options):
        """Options of a flow by matching; until it is fitted, one Gaussian follows the batches."""

        layers: Count = 4
        """Residual blocks of the network that is fitted to the encodings when the training is over,
        as ``genrev fit-prior --kind flow-matching`` does (to those of a sample, where data are
        streamed)."""
        hidden: Count = 384
        """Its width."""
        steps: Count = 5000
        """Steps of that fit."""

    samples_for_moments: ClassVar[int] = 4000  # a sample takes 48 passes

    def build_(self, k: int, classes: int) -> None:
        """The velocity, which is zero at first."""
        self.velocity = _Velocity(k, classes, self.hidden, self.layers)

    def from_normal(self, normal: Tensor, context: Tensor) -> Tensor:
        """Along the velocity."""
        return _integrated(lambda w, t: self.velocity(w, t, context), normal, 0.0, 1.0)

    def to_normal(self, white: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Against the velocity, whose divergence is that of every dimension."""
        basis = torch.eye(white.shape[1]).to(white)
        return self._against(white, context, basis)

    def _against(self, white: Tensor, context: Tensor, probes: Tensor) -> tuple[Tensor, Tensor]:
        """Normal numbers (N, k) and the log-determinant (N,).

        The divergence is the sum of :math:`p^T v' p` over probes (P, k), which may differ between
        encodings, (P, N, k).
        """

        def rates(state: Tensor, t: Tensor) -> Tensor:
            w = state[:, :-1]

            def along(probe: Tensor) -> Tensor:
                probe = probe.expand_as(w)
                change = torch.func.jvp(lambda w: self.velocity(w, t, context), (w,), (probe,))[1]
                return (change * probe).sum(1)

            parts = torch.func.vmap(along, chunk_size=_PROBES)(probes)  # (P, N)
            return torch.cat((self.velocity(w, t, context), parts.sum(0).unsqueeze(1)), 1)

        start = torch.cat((white, torch.zeros_like(white[:, :1])), 1)
        end = _integrated(rates, start, 1.0, 0.0)
        return end[:, :-1], end[:, -1]

    def learn_(self, train: Encodings, held: Encodings, seed: int) -> tuple[int, Tensor]:
        """Match the flow; the density of some of what is held out is estimated with one probe."""
        draw = _Draws(noise_generator(seed, 0, "flow matching"), train[0].device)
        looked_at = _Draws(noise_generator(seed, 1, "flow matching"), train[0].device)
        held_lines = [looked_at.line(held[0]) for _ in range(2)]
        fit, best = _Fit(self, train), math.inf
        weights = copy.deepcopy(self.velocity.state_dict())  # of a Gaussian, should others diverge
        with Bar("flow", self.steps, "steps") as bar:
            for step in range(1, self.steps + 1):
                rate = _LR * min(1.0, step / _WARM_UP) * (1 - (step - 1) / self.steps)
                fit(draw, rate, min(_EMA, step / (step + 10)))
                if step % _EVERY == 0 or step == self.steps:
                    with torch.no_grad():
                        errors = [self._error(fit.average, line, held[1]) for line in held_lines]
                    found = float(torch.stack(errors).mean())
                    if found < best:
                        best, weights = found, copy.deepcopy(fit.average.state_dict())
                    bar.set_postfix_str(f"held-out error {found:.4f}")
                bar.update()
        self.velocity.load_state_dict(weights)
        return self.steps, self._estimated(held, looked_at)

    def _error(
        self, velocity: "_Velocity", line: tuple[Tensor, Tensor, Tensor], labels: Tensor
    ) -> Tensor:
        """Mean squared error of the velocity (N, k) on straight lines."""
        noise, white, t = line
        place = torch.lerp(noise, white, t)
        with torch.autocast(place.device.type, torch.bfloat16, enabled=_fast_bf16(place.device)):
            found = velocity(place, t, self.context(labels))
        return F.mse_loss(found.float(), white - noise)

    @torch.no_grad()
    def _estimated(self, held: Encodings, draw: "_Draws") -> Tensor:
        """Log-densities (n,) with Hutchinson's estimate of the divergence."""
        rows = draw.rows(min(_MEASURED, len(held[0])), len(held[0]))
        white, labels = held[0][rows], held[1][rows]
        probe = draw.normal(*white.shape).sign().unsqueeze(0)
        normal, log_det = self._against(white, self.context(labels), probe)
        return log_det + log_normal(normal)


class _Fit:
    """Steps of a fit, and a moving average of the weights.

    On CUDA a step is recorded as a graph and replayed: Python takes ten times as long as it does.
    """

    def __init__(self, prior: FlowMatchingPrior, encodings: Encodings) -> None:
        self.prior = prior
        self.white, self.labels = encodings
        self.average = copy.deepcopy(prior.velocity)
        n, device = min(_BATCH, len(self.white)), self.white.device
        self.on_cuda = device.type == "cuda"
        self.rows = torch.zeros(n, dtype=torch.int64, device=device)
        self.noise, self.times = torch.zeros_like(self.white[:n]), self.white.new_zeros(n, 1)
        self.share = self.white.new_zeros(())  # of new weights in the average
        rate = torch.tensor(_LR, device=device) if self.on_cuda else _LR
        self.optimizer = torch.optim.AdamW(
            prior.velocity.parameters(), rate, (0.9, 0.99), weight_decay=0,
            fused=self.on_cuda or None, capturable=self.on_cuda,
        )  # fmt: skip
        self.done = 0
        self.replay: Callable[[], None] | None = None

    def __call__(self, draw: "_Draws", rate: float, decay: float) -> None:
        """Take a step."""
        draw.fill(self.rows, self.noise, self.times, len(self.white))
        self.share.fill_(1 - decay)
        group = self.optimizer.param_groups[0]
        if self.on_cuda:
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
        if self.on_cuda and self.done == _RECORDED:
            with torch.cuda.device(self.white.device):
                self.replay = _recorded(self._step)
        self.done += 1
        (self.replay or self._step)()

    def _step(self) -> None:
        velocity, white = self.prior.velocity, self.white[self.rows]
        with torch.enable_grad():
            line = self.noise, white, self.times
            error = self.prior._error(velocity, line, self.labels[self.rows])
            self.optimizer.zero_grad()
            error.backward()
        nn.utils.clip_grad_norm_(velocity.parameters(), _CLIP)
        self.optimizer.step()
        with torch.no_grad():
            pairs = zip(self.average.parameters(), velocity.parameters(), strict=True)
            for mean, now in pairs:
                mean.lerp_(now, self.share)


def _recorded(step: Callable[[], None]) -> Callable[[], None]:
    """A step as a CUDA graph, which computes nothing before it is replayed."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class _Velocity(nn.Module):
    """Residual blocks that are told time and class by the scale and shift of their norms."""

    frequencies: Tensor

    def __init__(self, k: int, classes: int, hidden: int, layers: int) -> None:
        super().__init__()
        steps = torch.linspace(0, math.log(_FASTEST), _FREQUENCIES)
        self.register_buffer("frequencies", steps.exp(), persistent=False)
        self.time = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.label = nn.Linear(classes, hidden, bias=False) if classes else None
        self.first = nn.Linear(k, hidden)
        self.blocks = nn.ModuleList(_Block(hidden) for _ in range(layers))
        self.last = nn.Linear(hidden, k)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, w: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """Velocity (N, k) at places (N, k) and times (N, 1) or (1, 1), told the class (N, K)."""
        angle = t * self.frequencies
        told = self.time(torch.cat((angle.sin(), angle.cos()), 1).to(w))
        if self.label is not None:
            told = told + self.label(context)
        told, x = F.silu(told), self.first(w)
        for block in self.blocks:
            x = block(x, told)
        return self.last(x)


class _Block(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.told = nn.Linear(hidden, 2 * hidden)
        self.inner, self.outer = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told).chunk(2, 1)
        # The layer norm of PyTorch has a derivative by jvp whose own gradient is wrong.
        variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        normed = (x - mean) * (variance + _EPSILON).rsqrt()
        return x + self.outer(F.silu(self.inner(normed * (1 + scale) + shift)))


class _Draws:
    """Random numbers, drawn on the CPU for every device."""

    def __init__(self, generator: torch.Generator, device: torch.device) -> None:
        self.generator, self.device = generator, device

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.device)

    def rows(self, n: int, of: int) -> Tensor:
        """n of so many rows, with repetitions."""
        return torch.randint(of, (n,), generator=self.generator).to(self.device)

    def fill(self, rows: Tensor, noise: Tensor, times: Tensor, of: int) -> None:
        """Put rows of so many, noise and times in tensors that are there, without waiting."""
        self._put(torch.randint(of, rows.shape, generator=self.generator), rows)
        self._put(torch.randn(noise.shape, generator=self.generator), noise)
        self._put(torch.randn(times.shape, generator=self.generator), times)
        times.sigmoid_()

    def _put(self, numbers: Tensor, place: Tensor) -> None:
        pinned = numbers.pin_memory() if self.device.type == "cuda" else numbers
        place.copy_(pinned, non_blocking=True)

    def line(self, white: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise (N, k), where it leads to (N, k), and a time between them (N, 1)."""
        return self.normal(*white.shape), white, self.normal(len(white), 1).sigmoid()


def _integrated(
    rates: Callable[[Tensor, Tensor], Tensor], state: Tensor, start: float, end: float
) -> Tensor:
    """The state (N, ...) at the end of its way, by Runge and Kutta's method of fourth order.

    All steps are equal: with steps that adapt, an image would depend on those beside it.
    """
    step = (end - start) / _STEPS
    for number in range(_STEPS):
        times = [start + (number + part) * step for part in (0.0, 0.5, 1.0)]
        first, middle, last = (state.new_full((1, 1), time) for time in times)
        a = rates(state, first)
        b = rates(state + step / 2 * a, middle)
        c = rates(state + step / 2 * b, middle)
        d = rates(state + step * c, last)
        state = state + step / 6 * (a + 2 * b + 2 * c + d)
    return state


def _fast_bf16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Private, since PyTorch has no other way to ask; without AMX they are slower.
    return device.type == "cpu" and getattr(torch.cpu, "_is_amx_tile_supported", bool)()
