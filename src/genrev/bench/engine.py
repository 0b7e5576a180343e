"""The reversible engine against plain autograd, checkpointing and other reversible libraries.

One step is phase 1 of the adversarial training: encode, clamp to 64 dimensions, decode, both
losses, backward. All candidates work on the same weights and images, in turns. Memory is the peak
of the allocator's records over a step, with ``.grad`` empty before.
"""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from genrev.bench import engine_peers
from genrev.bench.engine_peers import PEERS, Peer, missing_peers
from genrev.bench.measuring import (
    interleaved_seconds,
    machine,
    peak_bytes,
    traffic_bytes,
)
from genrev.files.writing import replacing
from genrev.models.devices import tf32
from genrev.networks import PRESETS, RevNet, RevNetConfig
from genrev.objectives import clamp_penalty, clamped_reconstruction_loss
from genrev.priors import ActiveUniform
from genrev.progress import track
from genrev.reversible import Engine, low_precision_weights

_DEPTHS = (2, 4, 8, 16, 32)  # couplings a stage
_ACTIVE = 64
_SMALL = RevNetConfig(
    image_size=32, channels=3, hidden_channels=(16,) * 3, blocks=(1,) * 3, kernel_sizes=(3,) * 3
)
_OURS = {
    "genrev stored": Engine(memory="stored"),
    "genrev reversible": Engine(),
    "genrev exact": Engine(exact=True),
}


class Candidate(NamedTuple):
    """A step, and the network whose gradients it computes."""

    step: Callable[[], None]
    net: RevNet


class Work(NamedTuple):
    """What a step has to do."""

    operations: int
    """Multiplications and additions of plain autograd, without what others compute twice."""
    traffic: dict[str, int]
    """Bytes that the operations of each candidate read and write."""


def run(
    repeats: int = 5,
    batches: tuple[int, ...] = (32,),
    depths: tuple[int, ...] = _DEPTHS,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure ``celeba64`` at every batch size, and a small network at every depth."""
    celeba, fewer = PRESETS["celeba64"], max(1, repeats // 2)

    def deep(n: int) -> dict[str, Any]:
        config = _SMALL.replace(blocks=(n,) * 3)
        return {"blocks": n, **compare(config, 16, fewer, device, ("float32",))}

    return {
        "benchmark": "engine",
        "machine": machine(device),
        "missing": missing_peers(),
        "celeba64": [compare(celeba, batch, repeats, device) for batch in batches],
        "depth": [deep(n) for n in depths],
    }


def format_result(result: dict[str, Any]) -> str:
    """The result as tables of text."""
    where = result["machine"]
    lines = [f"phase-1 step, {where['device']}, {where['threads']} threads, torch {where['torch']}"]
    lines += [f"skipped, not installed: {PEERS[name]}" for name in result["missing"]]
    titled = [(f"celeba64, batch {row['batch']}", row) for row in result["celeba64"]]
    titled += [(f"32x32, {row['blocks']} blocks a stage", row) for row in result["depth"]]
    for title, row in titled:
        heads = f"{'s/step':>8} {'speed':>6} {'MiB':>8} {'no grad':>8} {'error':>8} {'to plain':>8}"
        lines += ["", f"{title:32} {heads}"]
        for name, c in row["candidates"].items():
            if "failed" in c:
                lines.append(f"  {name:30} failed: {c['failed']}")
                continue
            errors, speed = (c["gradient_error"], c["gradient_to_plain"]), c["speed"] or math.nan
            error, difference = ("NaN" if e is None else f"{e:.1e}" for e in errors)
            lines.append(
                f"  {name:30} {c['seconds']:8.3f} {speed:6.2f} {c['peak_mib']:8.1f} "
                f"{c['activations_mib']:8.1f} {error:>8} {difference:>8}"
            )
    return "\n".join(lines)


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw memory and time against depth."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    memory, seconds = figure.subplots(1, 2)
    depths = [row["blocks"] for row in result["depth"]]
    for axes, key, quantity in (
        (memory, "activations_mib", "peak of activations, MiB"),
        (seconds, "seconds", "seconds a step"),
    ):
        for name in result["depth"][0]["candidates"]:
            rows = [row["candidates"][name] for row in result["depth"]]
            if not any("failed" in row for row in rows):
                axes.plot(depths, [row[key] for row in rows], marker="o", label=name)
        axes.set(xlabel="couplings a stage", ylabel=quantity, xscale="log", yscale="log")
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
    seconds.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix.lstrip(".") or "png")


def compare(
    config: RevNetConfig,
    batch: int,
    repeats: int,
    device: str,
    precisions: Sequence[str] = ("float32", "bf16"),
    precisely: bool = True,
    is_over: Callable[[], bool] = lambda: False,
    is_late: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Time, memory and gradients of all candidates on one network and batch.

    Args:
        config: of the network, without padding and with additive couplings.
        batch: number of images.
        repeats: rounds, of which there may be fewer when time ``is_over``.
        device: cpu or cuda.
        precisions: float32, which has to be among them, tf32 (on CUDA) and bf16.
        precisely: whether gradients are compared with float64's too, which takes memory.
        is_over: whether the time for this is over.
        is_late: whether it is too late to begin with another candidate.
    """
    torch.manual_seed(0)
    net = RevNet(config).to(device)
    plain = engine_peers.with_plain_convolutions(copy.deepcopy(net))
    x = engine_peers.images(batch, net).to(device)
    steps = candidates(net, plain, x, precisions)
    references: dict[str, Tensor] = {}
    with suppress(torch.OutOfMemoryError):
        if precisely:
            references["gradient_error"] = _precise_gradient(plain, x)
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], None]] = {}
    # Plain autograd and genrev come first: what there is no time for is another library.
    order = sorted(steps, key=lambda name: not name.startswith((*_OURS, "plain autograd")))
    for name in track(order, "memory and gradients", "candidates", len(steps)):
        candidate = steps[name]
        if rows and is_late():
            rows[name] = {"failed": "no time was left"}
            continue
        try:
            rows[name], gradient = _memory_and_gradient(candidate)
            if name == "plain autograd":
                references["gradient_to_plain"] = gradient
            rows[name] |= _errors(gradient, references)
            calls[name] = partial(_call, candidate)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:  # of a peer
            rows[name] = {"failed": str(error).splitlines()[0]}
        candidate.net.zero_grad(set_to_none=True)
    seconds = interleaved_seconds(calls, repeats, is_over)
    usual = seconds.get("plain autograd", math.nan)
    for name, value in seconds.items():
        rows[name] |= {"seconds": value, "speed": None if math.isnan(usual) else usual / value}
    rates = {name: batch / value for name, value in seconds.items()}
    in_order = {name: rows[name] for name in steps}
    return {"batch": batch, "images_per_second": rates, "candidates": in_order}


def candidates(
    net: RevNet, plain: RevNet, x: Tensor, precisions: Sequence[str]
) -> dict[str, Candidate]:
    """All that there are, on ``plain`` and by genrev's engines on ``net``; plain float32 first."""
    steps = {}
    for precision in precisions:
        ending = "" if precision == "float32" else f", {precision}"
        for name, peer in engine_peers.peers(plain).items():
            steps[name + ending] = Candidate(phase_step(peer, x, precision), plain)
        for name, engine in _OURS.items():
            step = phase_step(Peer(net.encode, net.decode), x, precision)

            def ours(engine: Engine = engine, step: Callable[[], None] = step) -> None:
                net.set_engine(engine)
                with low_precision_weights(net.parameters()):
                    step()

            steps[name + ending] = Candidate(ours, net)
    return steps


def phase_step(peer: Peer, x: Tensor, precision: str = "float32") -> Callable[[], None]:
    """Phase 1 of the adversarial training on images x, without an optimiser."""
    dim = x[0].numel()
    prior = ActiveUniform(dim, torch.arange(min(_ACTIVE, dim)), bound=2.0).to(x)

    def step() -> None:
        with tf32(precision == "tf32"):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
                z = peer.encode(x)
                z_clamped = prior.clamp(z)
                reconstruction = clamped_reconstruction_loss(x, z_clamped, peer.decode)
                penalty = clamp_penalty(z, z_clamped)
            (10 * reconstruction + 10 * penalty).backward()

    return step


def work(config: RevNetConfig, batch: int, device: str, precisions: Sequence[str]) -> Work:
    """Count what a step of ``compare`` has to do; candidates that fail are left out."""
    torch.manual_seed(0)
    net = RevNet(config).to(device)
    plain = engine_peers.with_plain_convolutions(copy.deepcopy(net))
    steps = candidates(net, plain, engine_peers.images(batch, net).to(device), precisions)
    with FlopCounterMode(display=False) as counter:
        _call(steps["plain autograd"])
    traffic = {}
    for name, candidate in steps.items():
        with suppress(RuntimeError, ValueError, TypeError, AttributeError):  # of a peer
            traffic[name] = traffic_bytes(partial(_call, candidate))
        candidate.net.zero_grad(set_to_none=True)
    return Work(counter.get_total_flops(), traffic)


def operations_per_image(config: RevNetConfig, device: str) -> float:
    """Multiplications and additions of a step of plain autograd."""
    net = RevNet(config, engine=Engine(memory="stored")).to(device)
    plain = engine_peers.with_plain_convolutions(net)
    step = phase_step(Peer(plain.encode, plain.decode), engine_peers.images(2, plain).to(device))
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2


def _call(candidate: Candidate) -> None:
    """Take a step that starts without gradients, as after ``optimizer.zero_grad()``."""
    candidate.net.zero_grad(set_to_none=True)
    candidate.step()


def gradient_of(net: RevNet) -> Tensor:
    """Those of all parameters, one after the other, in float64."""
    return torch.cat([p.grad.flatten().double() for p in net.parameters() if p.grad is not None])


def _precise_gradient(plain: RevNet, x: Tensor) -> Tensor:
    """That of float64."""
    precise = copy.deepcopy(plain).double()
    phase_step(Peer(precise.encode, precise.decode), x.double())()
    return gradient_of(precise)


def _memory_and_gradient(candidate: Candidate) -> tuple[dict[str, Any], Tensor]:
    """Of one step."""
    parameters = list(candidate.net.parameters())
    candidate.net.zero_grad(set_to_none=True)
    peak = peak_bytes(candidate.step, parameters[0].device)
    gradient = gradient_of(candidate.net)
    gradients = sum(p.numel() * p.element_size() for p in parameters)
    candidate.net.zero_grad(set_to_none=True)
    row = {"peak_mib": peak / 2**20, "activations_mib": (peak - gradients) / 2**20}
    return row, gradient


def _errors(gradient: Tensor, references: dict[str, Tensor]) -> dict[str, float | None]:
    """Distances of a gradient from others, relative to these."""
    errors: dict[str, float | None] = {"gradient_error": None, "gradient_to_plain": None}
    for key, reference in references.items():
        if gradient.shape == reference.shape:  # unless a parameter got none
            error = ((gradient - reference).norm() / reference.norm()).item()
            errors[key] = None if math.isnan(error) else error  # JSON has no NaN
    return errors
