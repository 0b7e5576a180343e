"""Three runs of `digits-released` side by side: widths of the prior through training, and samples.

Draws `images/authors_objective.png` and `images/authors_objective_samples.png` of
docs/results-mnist.md.

    genrev train digits-released --trainer.max_steps 5000 --trainer.frechet_every 250 --out runs/150
    genrev train digits-released ... --method.perturbation_weight 15 --out runs/15
    genrev train digits-released ... --method.transport debiased --out runs/debiased
    python docs/drawings/authors_objective.py runs/15 runs/150 runs/debiased
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

import genrev
from genrev.figures import read_metrics, sample_sheet, save_image
from genrev.figures.grid import tile_pictures

IMAGES = Path(__file__).parent.parent / "images"
NAMES = ("weight 15, exact", "weight 150, exact", "weight 150, debiased")
COLOURS = ("#9a6324", "#08519c", "#c44e00")
PANELS = {
    "dims_in_use": "dimensions in use per class, of 64",
    "std_max": "largest standard deviation",
    "frechet": "Fréchet distance to the training images",
}


def main(folders: list[Path]) -> None:
    """Draw both pictures."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axis, (column, title) in zip(figure.subplots(1, 3), PANELS.items(), strict=True):
        for folder, name, colour in zip(folders, NAMES, COLOURS, strict=True):
            series = read_metrics(folder / "metrics.csv")[column]
            axis.plot(list(series), list(series.values()), color=colour, label=name)
        if column == "dims_in_use":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
        if column != "frechet":  # all happens in the first steps
            axis.set_xscale("log")
        axis.set_title(title, fontsize=11)
        axis.set_xlabel("step")
        axis.grid(color="0.92")
    figure.axes[0].legend(fontsize=9)
    save_image(figure, IMAGES / "authors_objective.png")
    sheets = [sample_sheet(genrev.load(folder), 100, seed=0) for folder in folders]
    small = [sheet.resize((sheet.width // 2, sheet.height // 2)) for sheet in sheets]
    save_image(tile_pictures(small, 3, padding=24), IMAGES / "authors_objective_samples.png")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
