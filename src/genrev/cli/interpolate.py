"""Walk between pairs of images through the latent space (Figures 7 and 8)."""

import argparse
from pathlib import Path

from genrev.cli.run import add_data, add_run, images_for, read_images, run_data
from genrev.errors import GenrevError
from genrev.figures import interpolation_rows, save_image
from genrev.models import load

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="FILE",
        help="an even number of image files, pair by pair; by default images of --data",
    )
    add_data(parser)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of --data (default: 5)")
    parser.add_argument("--steps", type=int, default=8, help="images on a walk (default: 8)")
    parser.add_argument(
        "--full", action="store_true", help="in the full latent space instead of the restricted"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", default=Path("interpolations.png"))


def run(options: argparse.Namespace) -> None:
    """Interpolate."""
    if options.steps < 2 or options.pairs < 1:
        raise GenrevError("--steps must be 2 or more and --pairs 1 or more.")
    model = load(options.run)
    if options.images is not None:
        x = read_images(model, options.images)
        if len(x) < 2 or len(x) % 2:
            raise GenrevError(f"Interpolation takes pairs of images and --images has {len(x)}.")
    else:
        x = images_for(run_data(options.run, options.data), 2 * options.pairs)
    picture = interpolation_rows(model, x[0::2], x[1::2], options.steps, not options.full)
    save_image(picture, options.out)
    print(f"wrote {options.out}")
