"""Transport of one class: genrev against the formulation of the authors' code.

Theirs has all n n d differences under autograd; genrev differentiates matched pairs only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genrev.bench.measuring import interleaved_seconds, machine
from genrev.objectives import debiased_transport_loss, optimal_transport_loss

_SIZES = ((160, 16), (650, 1024))  # points a class and dimensions of mnist, mnist-released


def run(repeats: int = 3) -> dict[str, Any]:
    """Seconds per problem size, ratio and difference of the losses; needs POT."""
    losses = {"authors": _authors_loss, "genrev": optimal_transport_loss}
    losses["genrev debiased"] = debiased_transport_loss
    results = []
    for n, d in _SIZES:
        generator = torch.Generator().manual_seed(0)
        z, samples = (torch.randn(n, d, generator=generator) for _ in range(2))
        calls = {name: partial(_with_gradient, loss, z, samples) for name, loss in losses.items()}
        seconds = interleaved_seconds(calls, repeats)
        theirs, ours = calls["authors"](), calls["genrev"]()
        results.append(
            {
                "points": n,
                "dimensions": d,
                "seconds": seconds,
                "speedup": seconds["authors"] / seconds["genrev"],
                "relative_difference": abs(theirs - ours) / theirs,
            }
        )
    return {"benchmark": "transport", "machine": machine(), "results": results}


def format_result(result: dict[str, Any]) -> str:
    """The result as a few lines of text."""
    lines = [f"transport of one class, loss and gradient; {result['machine']['threads']} threads"]
    for row in result["results"]:
        times = ", ".join(f"{name} {1e3 * s:.1f} ms" for name, s in row["seconds"].items())
        lines.append(
            f"{row['points']} points in {row['dimensions']} dimensions: {times}; "
            f"genrev is {row['speedup']:.1f} times as fast as the authors' formulation "
            f"(losses differ by {row['relative_difference']:.1e})"
        )
    return "\n".join(lines)


def _with_gradient(loss: Callable[[Tensor, Tensor], Tensor], z: Tensor, samples: Tensor) -> float:
    z = z.detach().requires_grad_()
    value = loss(z, samples)
    value.backward()
    return float(value.detach())


def _authors_loss(z: Tensor, samples: Tensor) -> Tensor:
    import ot

    differences = z.unsqueeze(1) - samples.unsqueeze(0)  # (n, n, d)
    costs = (differences * differences).sum(2).clamp(min=1e-6).sqrt()
    plan = ot.emd([], [], costs.detach().numpy().astype(np.float64))
    return (torch.from_numpy(plan).float() * costs).sum()
