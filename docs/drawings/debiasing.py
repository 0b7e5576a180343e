"""Measure what transport between small samples does to a learned standard deviation.

Data are standard normal; a Gaussian with learned standard deviations is fitted to them by either
loss, with fresh samples of both at every step. The fit should end at 1.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from genrev.objectives import debiased_transport_loss, optimal_transport_loss

DIMS, POINTS, STEPS = 16, 64, 400


def fitted(loss: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
    """Mean learned standard deviation after every step."""
    generator = torch.Generator().manual_seed(0)
    std = torch.ones(DIMS, requires_grad=True)
    optimizer = torch.optim.Adam([std], 0.02)
    course = []
    for _ in range(STEPS):
        data = torch.randn(POINTS, DIMS, generator=generator)
        samples = std * torch.randn(POINTS, DIMS, generator=generator)
        optimizer.zero_grad()
        loss(data, samples).backward()
        optimizer.step()
        course.append(float(std.detach().mean()))
    return course


def draw(path: Path) -> None:
    """Fit both ways and write the plot."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.axhline(1, color="#aaaaaa", lw=1)
    for name, loss in (("exact", optimal_transport_loss), ("debiased", debiased_transport_loss)):
        course = fitted(loss)
        axes.plot(course, label=f"{name}: ends at {sum(course[-50:]) / 50:.2f}")
    axes.set(xlabel="step", ylabel="learned std (data: 1)", ylim=(0, 1.2))
    axes.set_title(f"{POINTS} points in {DIMS} dimensions", fontsize=10)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "images" / "debiasing.png")
