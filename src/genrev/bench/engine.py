"""The reversible engine against plain autograd, checkpointing and other reversible libraries.

One step is phase 1 of the adversarial training: encode, clamp to 64 dimensions, decode, both
losses, backward. All candidates work on the same weights and images, in turns. Memory is the peak
of the allocator's records over a step, with ``.grad`` empty before.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from genrev.bench import engine_peers
from genrev.bench.engine_peers import PEERS, Peer, missing_peers
from genrev.bench.measuring import interleaved_seconds, machine, peak_bytes
from genrev.files.writing import replacing
from genrev.networks import PRESETS, RevNet, RevNetConfig
from genrev.objectives import clamp_penalty, clamped_reconstruction_loss
from genrev.priors import ActiveUniform
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
    "genrev reversible, bf16": Engine(),
    "genrev exact, bf16": Engine(exact=True),
}


class _Candidate(NamedTuple):
    """A step, and the network whose gradients it computes."""

    step: Callable[[], None]
    net: RevNet


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
        return {"blocks": n, **_compare(config, 16, fewer, device, fp32_only=True)}

    return {
        "benchmark": "engine",
        "machine": machine(device),
        "missing": missing_peers(),
        "celeba64": [_compare(celeba, batch, repeats, device) for batch in batches],
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
            errors = (c["gradient_error"], c["gradient_to_plain"])
            error, difference = ("NaN" if e is None else f"{e:.1e}" for e in errors)
            lines.append(
                f"  {name:30} {c['seconds']:8.3f} {c['speed']:6.2f} {c['peak_mib']:8.1f} "
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


def _compare(
    config: RevNetConfig, batch: int, repeats: int, device: str, fp32_only: bool = False
) -> dict[str, Any]:
    torch.manual_seed(0)
    net = RevNet(config).to(device)
    plain = engine_peers.with_plain_convolutions(copy.deepcopy(net))
    x = engine_peers.images(batch, net).to(device)
    candidates = _candidates(net, plain, x, fp32_only)
    precise = copy.deepcopy(plain).double()
    _step(Peer(precise.encode, precise.decode), x.double())()
    truth = _gradient(precise)
    _call(candidates["plain autograd"])
    usual = _gradient(plain)
    rows: dict[str, dict[str, Any]] = {}
    calls: dict[str, Callable[[], None]] = {}
    for name, candidate in candidates.items():
        try:
            rows[name] = _memory_and_error(candidate, truth, usual)
            calls[name] = partial(_call, candidate)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:  # of a peer
            rows[name] = {"failed": str(error).splitlines()[0]}
    seconds = interleaved_seconds(calls, repeats)
    for name, value in seconds.items():
        rows[name] |= {"seconds": value, "speed": seconds["plain autograd"] / value}
    rates = {name: batch / value for name, value in seconds.items()}
    return {"batch": batch, "images_per_second": rates, "candidates": rows}


def _candidates(net: RevNet, plain: RevNet, x: Tensor, fp32_only: bool) -> dict[str, _Candidate]:
    others = engine_peers.peers(plain)
    others["plain autograd, bf16"] = others["plain autograd"]
    steps = {n: _Candidate(_step(peer, x, "bf16" in n), plain) for n, peer in others.items()}
    for name, engine in _OURS.items():
        step = _step(Peer(net.encode, net.decode), x, "bf16" in name)

        def ours(engine: Engine = engine, step: Callable[[], None] = step) -> None:
            net.set_engine(engine)
            with low_precision_weights():
                step()

        steps[name] = _Candidate(ours, net)
    return {name: c for name, c in steps.items() if not (fp32_only and "bf16" in name)}


def _step(peer: Peer, x: Tensor, low: bool = False) -> Callable[[], None]:
    dim = x[0].numel()
    prior = ActiveUniform(dim, torch.arange(min(_ACTIVE, dim)), bound=2.0).to(x)

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
            z = peer.encode(x)
            z_clamped = prior.clamp(z)
            reconstruction = clamped_reconstruction_loss(x, z_clamped, peer.decode)
            penalty = clamp_penalty(z, z_clamped)
        (10 * reconstruction + 10 * penalty).backward()

    return step


def _call(candidate: _Candidate) -> None:
    """Take a step that starts without gradients, as after ``optimizer.zero_grad()``."""
    candidate.net.zero_grad(set_to_none=True)
    candidate.step()
    if next(candidate.net.parameters()).is_cuda:  # it returns before the work is done
        torch.cuda.synchronize()


def _gradient(net: RevNet) -> Tensor:
    return torch.cat([p.grad.flatten().double() for p in net.parameters() if p.grad is not None])


def _memory_and_error(candidate: _Candidate, truth: Tensor, usual: Tensor) -> dict[str, Any]:
    parameters = list(candidate.net.parameters())
    candidate.net.zero_grad(set_to_none=True)
    peak = peak_bytes(candidate.step, parameters[0].device)
    gradient = _gradient(candidate.net)
    gradients = sum(p.numel() * p.element_size() for p in parameters)
    candidate.net.zero_grad(set_to_none=True)
    row: dict[str, float | None] = {
        "peak_mib": peak / 2**20,
        "activations_mib": (peak - gradients) / 2**20,
    }
    for key, reference in (("gradient_error", truth), ("gradient_to_plain", usual)):
        error = math.nan  # where a parameter got none
        if gradient.shape == reference.shape:
            error = ((gradient - reference).norm() / reference.norm()).item()
        row[key] = None if math.isnan(error) else error  # JSON has no NaN
    return row
