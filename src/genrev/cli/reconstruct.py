"""Show images beside their restricted and full reconstructions (Figure 6)."""

import argparse
from pathlib import Path

from genrev.cli.arguments import add_images, add_run, chosen_images
from genrev.cli.terminal import to_path
from genrev.errors import GenrevError
from genrev.figures import reconstruction_rows, save_image
from genrev.models import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_images(parser, "image files or folders of them")
    parser.add_argument("-n", type=int, default=16, help="how many of --data (default: 16)")
    parser.add_argument("--out", type=to_path, metavar="FILE", default=Path("reconstructions.png"))


def run(options: argparse.Namespace) -> None:
    """Reconstruct."""
    if options.n < 1:
        raise GenrevError(f"-n must be 1 or more and is {options.n}.")
    model = load(options.run).float()
    x = chosen_images(model, options, options.n)
    save_image(reconstruction_rows(model, x), options.out)
    print(f"wrote {options.out}")
