"""Transport of one class: genrev against the formulation of the authors' code.

Theirs has all n n d differences under autograd; genrev differentiates matched pairs only. The last
row is a whole training step of ``mnist-released``, but of one of its ten classes: theirs has plain
``nn.Conv2d`` as well.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genrev.bench.engine_peers import with_plain_convolutions
from genrev.bench.measuring import interleaved_seconds, machine
from genrev.data.arrays import image_data
from genrev.networks import RevNet
from genrev.objectives import debiased_transport_loss, optimal_transport_loss
from genrev.recipes import load_recipe
from genrev.training import Step
from genrev.training.methods.transport import Transport
from genrev.training.start import build_model

_SIZES = ((160, 16), (650, 1024))  # points a class and dimensions of mnist, mnist-released
_RECIPE, _OF_CLASS = "mnist-released", 650


def run(repeats: int = 3, images: int = _OF_CLASS) -> dict[str, Any]:
    """Seconds per problem size, ratio and difference of the losses; needs POT.

    Args:
        repeats: rounds.
        images: of a class in a training step.
    """
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
    steps = {"authors": _training(_Authors, images), "genrev": _training(Transport, images)}
    seconds = interleaved_seconds(steps, repeats)
    step = {"images": images, "seconds": seconds, "speedup": seconds["authors"] / seconds["genrev"]}
    return {"benchmark": "transport", "machine": machine(), "results": results, "step": step}


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
    step = result["step"]
    times = ", ".join(f"{name} {s:.2f} s" for name, s in step["seconds"].items())
    lines.append(
        f"training step of {_RECIPE}, {step['images']} images of one class: {times}; genrev is "
        f"{step['speedup']:.1f} times as fast"
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


class _Authors(Transport):
    def loss_of_class(self, points: Tensor, samples: Tensor) -> Tensor:
        return _authors_loss(points, samples)


def _training(kind: type[Transport], count: int) -> Callable[[], object]:
    """A training step of the recipe on noise, all of it of one class."""
    config = load_recipe(_RECIPE)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, 28, 28), np.uint8)
    data = image_data(pixels)
    method = kind(config.method.options)
    network = method.network_options(config.network.options)
    model = build_model(config, network, data, torch.device("cpu"), measure=False)
    assert isinstance(model.net, RevNet)
    if kind is _Authors:
        with_plain_convolutions(model.net)
    method.prepare(model, data, config.seed)
    step = Step(model, method, config.optimizer, max_steps=config.trainer.max_steps, data=data)
    images = torch.from_numpy(pixels).float() / 255
    return partial(step, images, number=1)  # step 0 fits the Gaussians first
