"""Walk between pairs of images through the latent space (Figures 7 and 8)."""

import argparse
from pathlib import Path

from genrev.cli.arguments import add_images, add_run, chosen_images
from genrev.cli.terminal import to_path
from genrev.errors import GenrevError
from genrev.figures import interpolation_rows, save_image
from genrev.models import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_images(parser, "an even number of image files, pair by pair")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of --data (default: 5)")
    parser.add_argument("--steps", type=int, default=8, help="images on a walk (default: 8)")
    parser.add_argument(
        "--full", action="store_true", help="in the full latent space instead of the restricted"
    )
    parser.add_argument("--out", type=to_path, metavar="FILE", default=Path("interpolations.png"))


def run(options: argparse.Namespace) -> None:
    """Interpolate."""
    if options.steps < 2 or options.pairs < 1:
        raise GenrevError("--steps must be 2 or more and --pairs 1 or more.")
    model = load(options.run).float()
    x = chosen_images(model, options, 2 * options.pairs)
    if len(x) < 2 or len(x) % 2:
        raise GenrevError(
            f"Interpolation takes pairs of images and got {len(x)}; "
            "name an even number with --images."
        )
    picture = interpolation_rows(model, x[0::2], x[1::2], options.steps, not options.full)
    save_image(picture, options.out)
    print(f"wrote {options.out}")
