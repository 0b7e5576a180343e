"""Training steps of the face experiment: genrev against the formulation of the authors' code.

``celeba64``, the paper's network of 60 million parameters. A step of the reconstruction phase is
one update of the RevNet; of the adversarial phase, one update of the discriminator on one batch and
one of the RevNet on the next. The authors' formulation is plain autograd through ``nn.Conv2d`` in
float32; genrev's candidates have the same weights, and losses and gradients up to rounding.
"""

import copy
import math
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genrev.bench.engine_peers import images, with_plain_convolutions
from genrev.bench.measuring import interleaved_seconds, machine
from genrev.errors import GenrevError
from genrev.models import GenerativeModel
from genrev.models.devices import tf32
from genrev.networks import PRESETS, RevNet, RevNetConfig
from genrev.priors import ActiveGaussian
from genrev.progress import track
from genrev.reversible import Engine, Memory
from genrev.seeding import seeded_weights
from genrev.training import OptimizerOptions, Step
from genrev.training.methods.matching import Matching
from genrev.training.steps.graphs import CudaRecorder

_ACTIVE, _PRIOR_SAMPLES, _MANY = 64, 750, 10**9
_RECORDED = 6  # runs after which a step is a graph


class Candidate(NamedTuple):
    """How a training is computed."""

    memory: Memory = "reversible"
    exact: bool = False
    precision: str = "float32"
    """float32, tf32 (on CUDA) or bf16."""
    plain: bool = False
    """Whether it runs plain ``nn.Conv2d``."""
    graph: bool = False
    """Whether steps are captured once and replayed."""


CANDIDATES = {
    "authors": Candidate("stored", plain=True),
    "genrev stored": Candidate("stored"),
    "genrev reversible": Candidate(),
    "genrev exact, bf16": Candidate(exact=True, precision="bf16"),
}
PHASES = {"reconstruction": 1, "adversarial": 2}
"""Batches of images that a step of each phase takes."""


def run(repeats: int = 5, batch: int = 32, config: RevNetConfig | None = None) -> dict[str, Any]:
    """Seconds and images a second of every candidate by phase, and their ratio to the authors'."""
    torch.manual_seed(0)
    net = RevNet(config or PRESETS["celeba64"])
    x = images(batch, net)
    phases = {phase: measure(net, CANDIDATES, phase, x, repeats) for phase in PHASES}
    return {"benchmark": "train", "machine": machine(), "batch": batch, "phases": phases}


def measure(
    net: RevNet,
    candidates: Mapping[str, Candidate],
    phase: str,
    x: Tensor,
    repeats: int,
    is_over: Callable[[], bool] = lambda: False,
) -> dict[str, dict[str, Any]]:
    """What ``run`` measures in one phase; one that cannot be measured says why as ``failed``."""
    rows: dict[str, dict[str, Any]] = {}
    steps: dict[str, Callable[[], None]] = {}
    for name, candidate in track(candidates.items(), "first steps", "candidates", len(candidates)):
        if steps and is_over():
            rows[name] = {"failed": "no time was left"}
            continue
        try:
            steps[name] = training(net, candidate, phase, x)[1]
            for _ in range(_RECORDED if candidate.graph else 1):
                steps[name]()
        except (RuntimeError, GenrevError) as error:  # too large for the memory, for example
            steps.pop(name, None)
            rows[name] = {"failed": str(error).splitlines()[0]}
    seconds = interleaved_seconds(steps, repeats, is_over)
    usual = seconds.get("authors")
    for name, value in seconds.items():
        rate = PHASES[phase] * len(x) / value
        ratio = usual / value if usual else None
        rows[name] = {"seconds": value, "images_per_second": rate, "ratio": ratio}
    return {name: rows[name] for name in candidates}


def format_result(result: dict[str, Any]) -> str:
    """The result as a table of text."""
    threads = result["machine"]["threads"]
    lines = [f"celeba64, batch {result['batch']}, {threads} threads"]
    for phase, rows in result["phases"].items():
        lines += ["", f"{phase + ' phase':24} {'s/step':>8} {'images/s':>9} {'ratio':>6}"]
        for name, row in rows.items():
            if "failed" in row:
                lines.append(f"  {name:22} failed: {row['failed']}")
                continue
            numbers = row["seconds"], row["images_per_second"], row["ratio"] or math.nan
            lines.append("  {:22} {:8.3f} {:9.1f} {:6.2f}".format(name, *numbers))
    return "\n".join(lines)


def training(
    net: RevNet, candidate: Candidate, phase: str, x: Tensor
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
    options = OptimizerOptions(lr=1e-4, betas=(0.0, 0.9))
    recorder = CudaRecorder() if candidate.graph else None
    step = Step(model, method, options, max_steps=_MANY, recorder=recorder).to(x.device)
    numbers = count()
    low, rounded = candidate.precision == "bf16", candidate.precision == "tf32"

    def run() -> None:
        autocast = torch.autocast(x.device.type, torch.bfloat16, enabled=low)
        with tf32(rounded), autocast:
            for _ in range(PHASES[phase]):
                step(x, number=next(numbers))
        if candidate.graph and (why := step.why_no_graph()):
            raise GenrevError(f"Its steps are no CUDA graphs ({why}).")

    return net, run
