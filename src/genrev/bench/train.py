"""Training steps of the face experiment: genrev against the formulation of the authors' code.

``celeba64``, the paper's network of 60 million parameters. A step of the reconstruction phase is
one update of the RevNet; of the adversarial phase, one update of the discriminator on one batch and
one of the RevNet on the next. The authors' formulation is plain autograd through ``nn.Conv2d`` in
float32; genrev's candidates have the same weights and run the engine. What is done is the same, so
are losses and gradients up to rounding.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam

from genrev.bench.engine_peers import blocks_of, images, with_plain_convolutions
from genrev.bench.measuring import interleaved_seconds, machine
from genrev.networks import PRESETS, LatentDiscriminator, RevNet, RevNetConfig
from genrev.objectives import (
    clamp_penalty,
    clamped_reconstruction_loss,
    hinge_discriminator_loss,
    hinge_encoder_loss,
)
from genrev.priors import ActiveGaussian
from genrev.reversible import Memory, ReversibleSequential

__all__ = ["format_result", "run"]

_ACTIVE, _PRIOR_SAMPLES, _BETAS = 64, 750, (0.0, 0.9)


class _Candidate(NamedTuple):
    memory: Memory
    exact: bool
    low: bool
    plain: bool = False


_CANDIDATES = {
    "authors": _Candidate("stored", exact=False, low=False, plain=True),
    "genrev stored": _Candidate("stored", exact=False, low=False),
    "genrev reversible": _Candidate("reversible", exact=False, low=False),
    "genrev exact, bf16": _Candidate("reversible", exact=True, low=True),
}


def run(repeats: int = 5, batch: int = 32, config: RevNetConfig | None = None) -> dict[str, Any]:
    """Time a step of either phase.

    Args:
        repeats: rounds; the median counts.
        batch: images a batch.
        config: the network; ``celeba64`` by default.

    Returns:
        Per phase, seconds and images a second of every candidate, and how many times as many that
        are as with the authors' formulation.
    """
    config = config or PRESETS["celeba64"]
    torch.manual_seed(0)
    net = RevNet(config)
    x = images(batch, net)
    trainings = {name: _Training(net, candidate) for name, candidate in _CANDIDATES.items()}
    phases = {}
    for phase, batches in (("reconstruction", 1), ("adversarial", 2)):
        steps = {name: _step(training, phase, x) for name, training in trainings.items()}
        seconds = interleaved_seconds(steps, repeats)
        phases[phase] = {
            name: {
                "seconds": value,
                "images_per_second": batches * batch / value,
                "ratio": seconds["authors"] / value,
            }
            for name, value in seconds.items()
        }
    return {"benchmark": "train", "machine": machine(), "batch": batch, "phases": phases}


def format_result(result: dict[str, Any]) -> str:
    """The result as a table of text."""
    threads = result["machine"]["threads"]
    lines = [f"celeba64, batch {result['batch']}, {threads} threads"]
    for phase, rows in result["phases"].items():
        lines += ["", f"{phase + ' phase':24} {'s/step':>8} {'images/s':>9} {'ratio':>6}"]
        lines += [
            f"  {name:22} {row['seconds']:8.3f} {row['images_per_second']:9.1f} {row['ratio']:6.2f}"
            for name, row in rows.items()
        ]
    return "\n".join(lines)


def _step(training: "_Training", phase: str, x: Tensor) -> Callable[[], None]:
    if phase == "reconstruction":
        return lambda: training.encoder_step(x, adversarial=False)

    def step() -> None:
        training.discriminator_step(x)
        training.encoder_step(x, adversarial=True)

    return step


class _Training:
    """Network, discriminator and optimisers of one candidate."""

    def __init__(self, net: RevNet, candidate: _Candidate) -> None:
        self.low = candidate.low
        self.net = copy.deepcopy(net)
        if candidate.plain:
            with_plain_convolutions(self.net)
        self.net.blocks = ReversibleSequential(
            *blocks_of(self.net), memory=candidate.memory, exact=candidate.exact
        )
        dim = net.config.latent_dim
        self.prior = ActiveGaussian(dim, torch.arange(min(_ACTIVE, dim)), bound=2.0)
        torch.manual_seed(1)
        self.discriminator = LatentDiscriminator(len(self.prior.active_dims))
        self.net_optimizer = _adam(self.net, 1e-4)
        self.discriminator_optimizer = _adam(self.discriminator, 4e-4)

    def encoder_step(self, x: Tensor, adversarial: bool) -> None:
        """Update the RevNet."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            z = self.net.encode(x)
            z_clamped = self.prior.clamp(z)
            loss = 10 * clamped_reconstruction_loss(x, z_clamped, self.net.decode)
            loss = loss + 10 * clamp_penalty(z, z_clamped)
        if adversarial:
            self.discriminator.eval().requires_grad_(False)
            loss = loss + hinge_encoder_loss(self.discriminator(self.prior.restrict(z)))
        self.net_optimizer.zero_grad()
        loss.backward()
        self.net_optimizer.step()

    def discriminator_step(self, x: Tensor) -> None:
        """Update the discriminator."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            z = self.prior.restrict(self.net.encode(x)).float()
        samples = self.prior.restrict(self.prior.sample(_PRIOR_SAMPLES))
        self.discriminator.train().requires_grad_(True)
        loss = hinge_discriminator_loss(self.discriminator(samples), self.discriminator(z))
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()


def _adam(module: nn.Module, rate: float) -> Adam:
    return Adam(module.parameters(), rate, _BETAS)
