"""Move along single latent dimensions (Figures 9 and 12)."""

import argparse
from pathlib import Path

from genrev.cli.run import add_label, add_run, check_label, read_images
from genrev.errors import GenrevError
from genrev.figures import save_image, traversal_plane, traversal_rows
from genrev.models import load

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_label(parser)
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
    parser.add_argument("--image", metavar="FILE", help="start from this image, not from the mean")
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("traversals.png"))


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
    if options.plane:
        picture = traversal_plane(model, label, steps, extent, options.dims)
    else:
        x = None if options.image is None else read_images(model, [options.image])
        if x is not None and len(x) != 1:
            raise GenrevError(f"--image takes one image and {options.image} has {len(x)}.")
        picture = traversal_rows(model, options.dims, label, steps, extent, x)
    save_image(picture, options.out)
    print(f"wrote {options.out}")
