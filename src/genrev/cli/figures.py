"""Draw all figures of a run into RUN/figures."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from genrev.cli.run import (
    add_data,
    add_run,
    images_for,
    indices_for,
    run_data,
)
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.figures import (
    dimensions_in_use,
    interpolation_rows,
    loss_curves,
    reconstruction_rows,
    sample_sheet,
    save_image,
    traversal_planes,
    traversal_rows,
)
from genrev.models import GenerativeRevNet, load
from genrev.training import RunFolder

__all__ = ["configure", "run"]

_ENOUGH_FOR_STDS = 5000  # images


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to (default: RUN/figures)"
    )


def run(options: argparse.Namespace) -> None:
    """Draw."""
    folder = RunFolder(options.run)
    if options.out is None and not folder.path.is_dir():
        raise GenrevError(f"{options.run} is not a run folder; say where to draw with --out.")
    model = load(options.run)
    out = options.out or folder.figures
    data = run_data(options.run, options.data)
    for name, draw in _figures(model, data, folder, options.seed).items():
        save_image(draw(), out / name)
        print(f"wrote {out / name}")


def _figures(
    model: GenerativeRevNet, data: ImageData, folder: RunFolder, seed: int
) -> dict[str, Callable[[], Any]]:
    x = images_for(data, 20)
    pairs = x[: 2 * (min(len(x), 10) // 2)]
    n = 10 * model.prior.num_classes if model.prior.num_classes > 1 else 100
    figures: dict[str, Callable[[], Any]] = {
        "samples.png": lambda: sample_sheet(model, n, seed=seed),  # Figure 11
        "reconstructions.png": lambda: reconstruction_rows(model, x[:16]),  # Figure 6
        "interpolations_restricted.png": lambda: interpolation_rows(model, pairs[::2], pairs[1::2]),
        "interpolations_full.png": lambda: interpolation_rows(
            model, pairs[::2], pairs[1::2], restricted=False
        ),
        "traversals.png": lambda: traversal_rows(model),  # Figure 9
        "planes.png": lambda: traversal_planes(model),  # Figure 12
        "dimensions.png": lambda: _dimensions(model, data),
    }
    if len(model.prior.active_dims) < 2:
        del figures["planes.png"]
    if folder.metrics.is_file() and len(folder.metrics.read_text().splitlines()) > 1:
        figures["losses.png"] = lambda: loss_curves(folder.metrics)
    return figures


def _dimensions(model: GenerativeRevNet, data: ImageData) -> Figure:
    chosen = indices_for(data, _ENOUGH_FOR_STDS)
    labels = torch.from_numpy(data.labels[chosen])
    return dimensions_in_use(model, data.tensor(chosen), labels)
