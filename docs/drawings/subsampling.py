"""Animate the checkerboard subsampling: where every pixel goes."""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from genrev import CheckerboardSubsample

SIDE, FRAMES, HOLD = 4, 16, 10
COLORS = ("#08519c", "#a63603", "#fd8d3c", "#6baed6")  # blue goes to x1, orange to x2
GAP = 1.0


def draw(path: Path) -> None:
    """Write the animation."""
    starts, ends, colors = _moves()
    times = [0.0] * HOLD + [i / FRAMES for i in range(FRAMES + 1)] + [1.0] * HOLD * 2
    pictures = [_frame(starts, ends, colors, _eased(t)) for t in times]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=70, loop=0)


def _moves() -> tuple[list[tuple[float, float]], list[tuple[float, float]], list[str]]:
    """Where each pixel of one channel starts and ends; asked of the real module."""
    numbered = torch.arange(float(SIDE**2)).view(1, 1, SIDE, SIDE)
    y = CheckerboardSubsample()(numbered)[0]  # (4, SIDE/2, SIDE/2)
    starts, ends, colors = [], [], []
    half = SIDE // 2
    for channel in range(len(y)):
        for row in range(half):
            for column in range(half):
                source = int(y[channel, row, column])
                starts.append((source % SIDE, -(source // SIDE)))
                x = SIDE + 1.5 + (channel % 2) * (half + GAP)
                ends.append((x + column, 0.75 - (channel // 2) * (half + GAP) - row))
                colors.append(COLORS[(source // SIDE % 2) * 2 + source % 2])
    return starts, ends, colors


def _eased(t: float) -> float:
    return t * t * (3 - 2 * t)


def _frame(
    starts: list[tuple[float, float]],
    ends: list[tuple[float, float]],
    colors: list[str],
    t: float,
) -> Image.Image:
    figure = Figure(figsize=(6.6, 3.3), dpi=90, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlim=(-0.8, SIDE * 2 + 3.2), ylim=(-SIDE - 0.6, 2.1), aspect="equal")
    axes.axis("off")
    for (x0, y0), (x1, y1), color in zip(starts, ends, colors, strict=True):
        _square(axes, x0, y0, color, 0.15)
        label = str(int(y0 * -SIDE + x0))
        _square(axes, x0 + (x1 - x0) * t, y0 + (y1 - y0) * t, color, 1.0, label)
    axes.text(SIDE / 2 - 0.5, 1.85, "one channel, 4x4", ha="center")
    axes.text(SIDE + 1 + 2.5, 1.85, "four channels, 2x2", ha="center")
    for name, y in (("x_1", 0.25), ("x_2", -2.75)):
        axes.text(SIDE * 2 + 3, y, f"${name}$", va="center", fontsize=13)
    canvas.draw()
    return Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba()).convert("RGB")


def _square(
    axes: Axes, x: float, y: float, color: str, alpha: float, label: str | None = None
) -> None:
    axes.add_patch(Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, facecolor=color, alpha=alpha))
    if label is not None:
        axes.text(x, y, label, ha="center", va="center", color="white", fontsize=9)


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "images" / "subsampling.gif")
