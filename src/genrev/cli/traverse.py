"""Move along single latent dimensions (Figures 9 and 12)."""

import argparse
import math
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
    require_shape,
    run_data,
)
from genrev.errors import GenrevError
from genrev.figures import (
    class_traversals,
    save_image,
    traversal_plane,
    traversal_rows,
    widest_dims,
)
from genrev.models import GenerativeModel, load
from genrev.models.walks import random_dims

__all__ = ["add_widest", "configure", "run"]


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
        help="latent dimensions; by default five at random (Figure 9), of a model with classes the "
        "three that are widest on average over them (Figure 12), or the widest of --label",
    )
    add_widest(parser)
    parser.add_argument("--seed", type=int, default=0, help="of random dimensions (default: 0)")
    parser.add_argument("--steps", type=int, help="images along a dimension (default: 9)")
    parser.add_argument(
        "--extent",
        type=float,
        help="standard deviations (default: 3; 2 for all classes together and for --plane)",
    )
    parser.add_argument(
        "--plane",
        action="store_true",
        help="one plane of two dimensions instead of one row per dimension (default: 8 steps)",
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
    model = load(options.run).float()
    label = check_label(model, options.label)
    # Figure 12 shows all classes, on either side of the mean of each.
    classes = model.prior.num_classes > 1 and label is None and options.image is None
    extent = 2.0 if options.plane or classes else 3.0
    steps = 8 if options.plane else 9
    steps = steps if options.steps is None else options.steps
    extent = extent if options.extent is None else options.extent
    if steps < 2:
        raise GenrevError(f"--steps must be 2 or more and is {steps}.")
    if not math.isfinite(extent):
        raise GenrevError(f"--extent must be a finite number and is {extent}.")
    if options.plane and options.image is not None:
        raise GenrevError("--plane starts from the mean of a class; leave --image or --plane out.")
    if options.data is not None and model.prior.num_classes > 1:
        raise GenrevError(
            "--data tells which dimensions are widest, and a prior with classes tells them itself; "
            "leave --data out."
        )
    if options.data is not None and not (options.widest or options.plane):
        raise GenrevError(
            "--data tells which dimensions are widest; add --widest, or leave --data out."
        )
    if options.dims is not None and options.widest:
        raise GenrevError("--dims and --widest both choose dimensions; leave one of them out.")
    if options.plane:
        dims = options.dims or (_widest(model, options) or [])[:2] or None
        picture = traversal_plane(model, label, steps, extent, dims)
    elif classes:
        picture = class_traversals(model, options.dims, steps, extent)
    else:
        x = None if options.image is None else read_images(model, [options.image])
        if x is not None and len(x) != 1:
            raise GenrevError(f"--image takes one image and {options.image} has {len(x)}.")
        picture = traversal_rows(model, _dims(model, options), label, steps, extent, x)
    save_image(picture, options.out)
    print(f"wrote {options.out}")


def add_widest(parser: argparse.ArgumentParser) -> None:
    """The option --widest."""
    parser.add_argument(
        "--widest",
        action="store_true",
        help="of a model without classes: the eight dimensions that are widest, in place of five "
        "at random",
    )


def _dims(model: GenerativeModel, options: argparse.Namespace) -> list[int] | None:
    if options.dims is not None:
        return list(options.dims)
    if options.widest or model.prior.num_classes > 1:
        return _widest(model, options)
    return random_dims(model, seed=options.seed)


def _widest(model: GenerativeModel, options: argparse.Namespace) -> list[int] | None:
    """The widest dimensions of a prior that has one width for all; others know theirs."""
    if model.prior.num_classes > 1:
        return None
    try:
        data = run_data(options.run, options.data)
    except GenrevError:
        if options.data is not None:
            raise
        return None  # a model without its data: any dimension is as good as another
    return widest_dims(model, images_for(require_shape(model, data), ENOUGH_FOR_RANKS))
