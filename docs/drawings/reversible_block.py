"""Draw the additive coupling in both directions."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, FUNCTION, SUM = "#333333", "#9ecae1", "#fdd0a2"


def draw(path: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(8.4, 2.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _block(left, "encode:  $y_1=x_1+F(x_2)$,  $y_2=x_2+G(y_1)$", inverse=False)
    _block(right, "decode:  $x_2=y_2-G(y_1)$,  $x_1=y_1-F(x_2)$", inverse=True)
    figure.savefig(path, dpi=150)


def _block(axes: Axes, title: str, inverse: bool) -> None:
    axes.set(xlim=(-0.6, 6.6), ylim=(-0.7, 2.7), aspect="equal", title=title)
    axes.title.set_fontsize(10)
    axes.axis("off")
    forward = (("x", "F", 1.8), ("y", "G", 4.2))
    sign = "−" if inverse else "+"
    for y, number in ((2, 1), (0, 2)):
        start, end = ("y", "x") if inverse else ("x", "y")
        left, right = (end, start) if inverse else (start, end)
        axes.text(-0.3, y, f"${left}_{number}$", ha="center", va="center", fontsize=13)
        axes.text(6.3, y, f"${right}_{number}$", ha="center", va="center", fontsize=13)
        _arrow(axes, (6, y) if inverse else (0, y), (0, y) if inverse else (6, y))
    for _, name, x in forward:
        low, high = (0, 2) if name == "F" else (2, 0)
        _arrow(axes, (x, low), (x, 1 - 0.35 if low < high else 1 + 0.35))
        _arrow(
            axes, (x, 1 + 0.35 if low < high else 1 - 0.35), (x, high + (-0.25 if high else 0.25))
        )
        _node(axes, (x, 1), f"${name}$", FUNCTION, "round,pad=0.35")
        _node(axes, (x, high), sign, SUM, "circle,pad=0.15")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def _node(axes: Axes, at: tuple[float, float], text: str, color: str, shape: str) -> None:
    box = {"boxstyle": shape, "facecolor": color, "edgecolor": INK}
    axes.text(*at, text, ha="center", va="center", fontsize=12, bbox=box)


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "images" / "reversible_block.png")
