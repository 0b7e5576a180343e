"""Figures of the paper and plots of a run: pure functions from a model to a picture or a plot."""

from genrev.figures.curves import loss_curves, moving_average, read_metrics
from genrev.figures.dimensions import dimensions_in_use
from genrev.figures.grid import image_grid, tile_pictures
from genrev.figures.interpolations import interpolation_rows, interpolations
from genrev.figures.reconstructions import reconstruction_rows
from genrev.figures.samples import sample_sheet
from genrev.figures.saving import save_image
from genrev.figures.traversals import (
    largest_dims,
    plane,
    traversal_plane,
    traversal_planes,
    traversal_rows,
    traversals,
)

__all__ = [
    "dimensions_in_use",
    "image_grid",
    "interpolation_rows",
    "interpolations",
    "largest_dims",
    "loss_curves",
    "moving_average",
    "plane",
    "read_metrics",
    "reconstruction_rows",
    "sample_sheet",
    "save_image",
    "tile_pictures",
    "traversal_plane",
    "traversal_planes",
    "traversal_rows",
    "traversals",
]
