"""Move along single latent dimensions (Figures 9 and 12)."""

import argparse
from pathlib import Path

from genrev.cli.paths import name_or_path, to_path
from genrev.cli.run import (
    ENOUGH_FOR_RANKS,
    add_data,
    add_label,
    add_run,
    check_label,
    images_for,
    read_images,
    run_data,
)
from genrev.errors import GenrevError
from genrev.figures import save_image, traversal_plane, traversal_rows, widest_dims
from genrev.models import GenerativeModule, load

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_label(parser)
    add_data(parser)
    parser.add_argument(
        "--dims",
        type=int,
        nargs="+",
        metavar="DIM",
        help="latent dimensions; by default those with the largest standard deviation",
    )
    parser.add_argument("--steps", type=int, help="images along a dimension (default: 9)")
    parser.add_argument("--extent", type=float, help="standard deviations (default: 3)")
    parser.add_argument(
        "--plane",
        action="store_true",
        help="one plane of two dimensions instead of one row per dimension "
        "(default: 8 steps, 2 standard deviations, as in Figure 12)",
    )
    parser.add_argument(
        "--image",
        type=name_or_path,
        metavar="FILE",
        help="start from this image, not from the mean",
    )
    parser.add_argument("--out", type=to_path, metavar="FILE", default=Path("traversals.png"))


def run(options: argparse.Namespace) -> None:
    """Traverse."""
    steps, extent = (8, 2.0) if options.plane else (9, 3.0)  # as in Figures 12 and 9
    steps = steps if options.steps is None else options.steps
    extent = extent if options.extent is None else options.extent
    if steps < 2:
        raise GenrevError(f"--steps must be 2 or more and is {steps}.")
    if options.plane and options.image is not None:
        raise GenrevError("--plane starts from the mean of a class; leave --image or --plane out.")
    model = load(options.run)
    label = check_label(model, options.label)
    dims = options.dims or _widest(model, options)
    if options.plane:
        chosen = dims if options.dims or dims is None else dims[:2]
        picture = traversal_plane(model, label, steps, extent, chosen)
    else:
        x = None if options.image is None else read_images(model, [options.image])
        if x is not None and len(x) != 1:
            raise GenrevError(f"--image takes one image and {options.image} has {len(x)}.")
        picture = traversal_rows(model, dims, label, steps, extent, x)
    save_image(picture, options.out)
    print(f"wrote {options.out}")


def _widest(model: GenerativeModule, options: argparse.Namespace) -> list[int] | None:
    """The widest dimensions of a prior that has one width for all; others know theirs."""
    if model.prior.num_classes > 1:
        return None
    try:
        data = run_data(options.run, options.data)
    except GenrevError:
        if options.data is not None:
            raise
        return None  # a model without its data: any dimension is as good as another
    return widest_dims(model, images_for(data, ENOUGH_FOR_RANKS))
