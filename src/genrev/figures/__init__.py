"""Figures of the paper and plots of a run: pure functions from a model to a picture or a plot.

``draw_figures`` draws all that suit a run; see ``genrev.figures.figure`` to add another.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from genrev.figures.figure import (
    FIGURES,
    FigureRun,
    classes_in_turn,
    draw_figures,
    save_image,
    write_file,
)
from genrev.figures.files import require_empty, write_samples
from genrev.figures.grid import image_grid, tile_pictures
from genrev.figures.pictures import (
    comparison_rows,
    interpolation_rows,
    neighbour_rows,
    reconstruction_rows,
    sample_sheet,
)
from genrev.figures.progress import progress_gif, progress_strip, stored_sheets, write_sheet
from genrev.figures.traversals import (
    choose_dims,
    class_traversals,
    images_for_widths,
    traversal_plane,
    traversal_planes,
    traversal_rows,
    widest_dims,
)

if TYPE_CHECKING:
    from genrev.figures.curves import (
        curves_of_seeds,
        frechet_curves,
        loss_curves,
        mean_and_range,
        moving_average,
        read_metrics,
    )
    from genrev.figures.dimensions import dimensions_in_use

# Plots are imported when they are first used: pictures need no matplotlib.
_HOMES = {
    "curves": (
        *("curves_of_seeds", "frechet_curves", "loss_curves", "mean_and_range"),
        *("moving_average", "read_metrics"),
    ),
    "dimensions": ("dimensions_in_use",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"genrev.figures.{home}"), name)
    raise AttributeError(f"module 'genrev.figures' has no attribute {name!r}")
