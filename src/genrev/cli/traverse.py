"""Move along single latent dimensions (Figures 9 and 12)."""

import argparse
import math
from pathlib import Path

from torch import Tensor

from genrev.cli.arguments import (
    add_data,
    add_dims,
    add_label,
    add_run,
    check_dims,
    check_label,
    read_images,
    require_shape,
)
from genrev.cli.terminal import name_or_path, to_path
from genrev.errors import GenrevError
from genrev.figures import (
    choose_dims,
    class_traversals,
    images_for_widths,
    save_image,
    traversal_plane,
    traversal_rows,
)
from genrev.models import GenerativeModel, load
from genrev.recipes import run_data


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_label(parser)
    add_data(parser)
    add_dims(
        parser,
        "latent dimensions; by default five at random (Figure 9), of a model with classes the "
        "three that are widest on average over them (Figure 12), or the widest of --label",
    )
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
    steps, extent = options.steps, options.extent
    if steps is None:
        steps = 8 if options.plane else 9
    if extent is None:
        extent = 2.0 if options.plane or classes else 3.0
    _check(model, options, steps, extent)
    check_dims(options)
    widest = options.widest or (options.plane and options.dims is None)
    images = _images(model, options) if widest else None
    dims = choose_dims(model, options.dims, widest, images, options.seed)
    if options.plane:
        two = dims if dims is None or options.dims is not None else dims[:2]
        picture = traversal_plane(model, label, steps, extent, two)
    elif classes:
        picture = class_traversals(model, dims, steps, extent)
    else:
        x = None if options.image is None else read_images(model, [options.image])
        if x is not None and len(x) != 1:
            raise GenrevError(f"--image takes one image and {options.image} has {len(x)}.")
        picture = traversal_rows(model, dims, label, steps, extent, x)
    save_image(picture, options.out)
    print(f"wrote {options.out}")


def _check(model: GenerativeModel, options: argparse.Namespace, steps: int, extent: float) -> None:
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


def _images(model: GenerativeModel, options: argparse.Namespace) -> Tensor | None:
    """What tells which dimensions are widest; nothing of a model without its data."""
    if model.prior.num_classes > 1:
        return None
    try:
        data = run_data(options.run, options.data)
    except GenrevError:
        if options.data is not None:
            raise
        return None
    return images_for_widths(require_shape(model, data))
