"""Figures of the paper and plots of a run: pure functions from a model to a picture or a plot.

``draw_figures`` draws all that suit a run; see ``genrev.figures.figure`` to add another.
"""

from genrev.figures.curves import (
    curves_of_seeds,
    frechet_curves,
    loss_curves,
    mean_and_range,
    moving_average,
    read_metrics,
)
from genrev.figures.dimensions import dimensions_in_use
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
