"""Figures of the paper and plots of a run: pure functions from a model to a picture or a plot."""

from genrev.figures.curves import loss_curves, moving_average, read_metrics
from genrev.figures.dimensions import dimensions_in_use, widest_dims
from genrev.figures.grid import image_grid, tile_pictures
from genrev.figures.interpolations import interpolation_rows
from genrev.figures.neighbours import neighbour_rows
from genrev.figures.progress import progress_gif, progress_strip, stored_sheets, write_sheet
from genrev.figures.reconstructions import reconstruction_rows
from genrev.figures.samples import sample_sheet
from genrev.figures.saving import save_image, write_file
from genrev.figures.stability import frechet_curves, mean_and_range
from genrev.figures.traversals import (
    class_traversals,
    traversal_plane,
    traversal_planes,
    traversal_rows,
)

__all__ = [
    "class_traversals",
    "dimensions_in_use",
    "frechet_curves",
    "image_grid",
    "interpolation_rows",
    "loss_curves",
    "mean_and_range",
    "moving_average",
    "neighbour_rows",
    "progress_gif",
    "progress_strip",
    "read_metrics",
    "reconstruction_rows",
    "sample_sheet",
    "save_image",
    "stored_sheets",
    "tile_pictures",
    "traversal_plane",
    "traversal_planes",
    "traversal_rows",
    "widest_dims",
    "write_file",
    "write_sheet",
]
