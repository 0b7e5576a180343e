"""Training steps of the face experiment: genrev against the formulation of the authors' code.

``celeba64``, the paper's network of 60 million parameters. A step of the reconstruction phase is
one update of the RevNet; of the adversarial phase, one update of the discriminator on one batch and
one of the RevNet on the next. The authors' formulation is plain autograd through ``nn.Conv2d`` in
float32; genrev's candidates have the same weights, and losses and gradients up to rounding.
"""

import copy
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genrev.bench.engine_peers import images, with_plain_convolutions
from genrev.bench.measuring import interleaved_seconds, machine
from genrev.models import GenerativeModel
from genrev.networks import PRESETS, RevNet, RevNetConfig
from genrev.priors import ActiveGaussian
from genrev.reversible import Engine, Memory
from genrev.seeding import seeded_weights
from genrev.training import OptimizerOptions, Step
from genrev.training.methods.matching import Matching

_ACTIVE, _PRIOR_SAMPLES, _MANY = 64, 750, 10**9


class _Candidate(NamedTuple):
    memory: Memory
    exact: bool
    low: bool
    plain: bool = False


CANDIDATES = {
    "authors": _Candidate("stored", exact=False, low=False, plain=True),
    "genrev stored": _Candidate("stored", exact=False, low=False),
    "genrev reversible": _Candidate("reversible", exact=False, low=False),
    "genrev exact, bf16": _Candidate("reversible", exact=True, low=True),
}


def run(repeats: int = 5, batch: int = 32, config: RevNetConfig | None = None) -> dict[str, Any]:
    """Seconds and images a second of every candidate by phase, and their ratio to the authors'."""
    torch.manual_seed(0)
    net = RevNet(config or PRESETS["celeba64"])
    x = images(batch, net)
    phases = {}
    for phase, batches in (("reconstruction", 1), ("adversarial", 2)):
        steps = {name: training(net, one, phase, x)[1] for name, one in CANDIDATES.items()}
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


def training(
    net: RevNet, candidate: _Candidate, phase: str, x: Tensor
) -> tuple[RevNet, Callable[[], None]]:
    """A copy of the network, and what trains it: the very step that `genrev train` takes.

    In the adversarial phase that is two of them, the discriminator's and the network's.
    """
    net = copy.deepcopy(net)
    if candidate.plain:
        with_plain_convolutions(net)
    net.set_engine(Engine(memory=candidate.memory, exact=candidate.exact))
    prior = ActiveGaussian(net.latent_dim, torch.arange(min(_ACTIVE, net.latent_dim)), bound=2.0)
    model = GenerativeModel(net, prior, ("all",))
    first = phase == "reconstruction"
    method = Matching(prior_samples=_PRIOR_SAMPLES, reconstruction_steps=_MANY if first else 0)
    with seeded_weights(1, "discriminator"):
        method.discriminator = method.build_discriminator(model)
    step = Step(model, method, OptimizerOptions(lr=1e-4, betas=(0.0, 0.9)), max_steps=_MANY)
    numbers = count()

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=candidate.low):
            for _ in range(1 if first else 2):
                step(x, number=next(numbers))

    return net, run
