"""Draw all figures of a run into RUN/figures; of a folder of seeds, their learning curves."""

import argparse
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

from genrev.cli.evaluate import train_split
from genrev.cli.paths import to_path
from genrev.cli.run import (
    ENOUGH_FOR_RANKS,
    add_data,
    add_run,
    images_for,
    indices_for,
    read_run_config,
    require_shape,
    run_data,
)
from genrev.cli.traverse import add_widest
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import nearest_images, samples_as_stored
from genrev.figures import (
    class_traversals,
    dimensions_in_use,
    frechet_curves,
    interpolation_rows,
    loss_curves,
    neighbour_rows,
    progress_gif,
    progress_strip,
    read_metrics,
    reconstruction_rows,
    sample_sheet,
    save_image,
    stored_sheets,
    traversal_plane,
    traversal_planes,
    traversal_rows,
    widest_dims,
)
from genrev.files.locking import locked
from genrev.models import GenerativeModel, load
from genrev.models.classes import model_labels
from genrev.models.walks import random_dims
from genrev.training import RunFolder

__all__ = ["configure", "run"]

_CURE = "name another folder with --out"
_PAIRS = 20  # samples shown with their nearest training image
_ENOUGH_FOR_STDS = 5000  # images

_Draw = Callable[[], Image.Image | Figure]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument(
        "--dims",
        type=int,
        nargs="+",
        metavar="DIM",
        help="latent dimensions to traverse; by default five at random (Figure 9), of a model with "
        "classes the three that are widest on average over them (Figure 12)",
    )
    add_widest(parser)
    parser.add_argument(
        "--out", type=to_path, metavar="FOLDER", help="where to (default: RUN/figures)"
    )


def run(options: argparse.Namespace) -> None:
    """Draw."""
    if options.dims is not None and options.widest:
        raise GenrevError("--dims and --widest both choose dimensions; leave one of them out.")
    folder = RunFolder(options.run)
    if options.out is None and not folder.path.is_dir():
        raise GenrevError(f"{options.run} is not a run folder; say where to draw with --out.")
    out = options.out or folder.figures
    seeds = _seeds(folder)
    if seeds:
        figures = _of_seeds(seeds)
        with locked(out, _CURE, _CURE):
            _save(figures, out)
        return
    model = load(options.run).float()
    data = require_shape(model, run_data(options.run, options.data))
    figures = _of_model(model, data, options) | _of_training(folder)
    train = train_split(options.run, options.data)
    if train is not None:
        figures["neighbours.png"] = lambda: _neighbours(model, train, options.seed)
    with locked(out, _CURE, _CURE):
        _save(figures, out)
        if stored_sheets(folder.samples):
            print(f"wrote {progress_gif(folder.samples, out / 'progress.gif')}")  # Figure 3


def _save(figures: dict[str, _Draw], out: Path) -> None:
    for name, draw in figures.items():
        print(f"wrote {save_image(draw(), out / name)}")


def _of_model(
    model: GenerativeModel, data: ImageData, options: argparse.Namespace
) -> dict[str, _Draw]:
    x = images_for(data, 20)
    pairs = x[: 2 * (min(len(x), 10) // 2)]
    n = 10 * model.prior.num_classes if model.prior.num_classes > 1 else 100
    widest = widest_dims(model, images_for(data, ENOUGH_FOR_RANKS))
    figures: dict[str, _Draw] = {
        "samples.png": lambda: sample_sheet(model, n, seed=options.seed),  # Figures 5 and 11
        "reconstructions.png": lambda: reconstruction_rows(model, x[:16]),  # Figure 6
        "interpolations_restricted.png": lambda: interpolation_rows(  # Figure 7
            model, pairs[::2], pairs[1::2]
        ),
        "interpolations_full.png": lambda: interpolation_rows(  # Figure 8
            model, pairs[::2], pairs[1::2], restricted=False
        ),
        "traversals.png": lambda: _traversals(model, widest, options),  # Figures 9 and 12
        "dimensions.png": lambda: _dimensions(model, data),
    }
    if not len(pairs):
        del figures["interpolations_restricted.png"], figures["interpolations_full.png"]
    if len(model.prior.active_dims) > 1:
        figures["planes.png"] = lambda: _planes(model, widest)
    return figures


def _of_training(folder: RunFolder) -> dict[str, _Draw]:
    figures: dict[str, _Draw] = {}
    if stored_sheets(folder.samples):
        figures["progress.png"] = lambda: progress_strip(folder.samples)  # Figure 3
    metrics = read_metrics(folder.metrics) if folder.metrics.is_file() else {}
    if metrics:
        figures["losses.png"] = lambda: loss_curves(folder.metrics)
    if _is_measured(metrics):
        figures["stability.png"] = lambda: _stability([folder])  # Figure 10, of one seed
    return figures


def _dimensions(model: GenerativeModel, data: ImageData) -> Figure:
    chosen = indices_for(data, _ENOUGH_FOR_STDS)
    labels = torch.from_numpy(model_labels(model, data)[chosen])
    return dimensions_in_use(model, data.tensor(chosen), labels)


def _neighbours(model: GenerativeModel, train: ImageData, seed: int) -> Image.Image:
    samples, _ = samples_as_stored(model, _PAIRS, seed)
    _, indices = nearest_images(samples, train)
    return neighbour_rows(samples.float() / 255, train.tensor(indices))


def _traversals(
    model: GenerativeModel, widest: list[int], options: argparse.Namespace
) -> Image.Image:
    if model.prior.num_classes > 1:
        return class_traversals(model, options.dims)
    chosen = widest if options.widest else random_dims(model, seed=options.seed)
    return traversal_rows(model, options.dims or chosen)


def _planes(model: GenerativeModel, widest: list[int]) -> Image.Image:
    if model.prior.num_classes > 1:
        return traversal_planes(model)
    return traversal_plane(model, dims=widest[:2])


def _seeds(folder: RunFolder) -> list[RunFolder]:
    """The runs RUN/seed0, RUN/seed1, ... of a folder that holds several, in their order."""
    found = {}
    for path in folder.path.glob("seed*"):
        match = re.fullmatch(r"seed(\d+)", path.name)
        if match and path.is_dir():
            found[int(match[1])] = RunFolder(path)
    return [found[seed] for seed in sorted(found)]


def _of_seeds(seeds: list[RunFolder]) -> dict[str, _Draw]:
    """Figure 10, where the Fréchet distance was measured; else the losses of every seed."""
    metrics = {run.path.name: read_metrics(run.metrics) for run in seeds if run.metrics.is_file()}
    if not any(metrics.values()):
        raise GenrevError(
            f"No run in {seeds[0].path.parent} has a {seeds[0].metrics.name} with numbers yet; "
            "wait for the first steps of the training, or train with a smaller --trainer.log_every."
        )
    if any(map(_is_measured, metrics.values())):
        return {"stability.png": lambda: _stability(seeds)}
    return {
        f"losses_{run.path.name}.png": partial(loss_curves, run.metrics)
        for run in seeds
        if metrics.get(run.path.name)
    }


def _is_measured(metrics: Mapping[str, Mapping[float, float]]) -> bool:
    return any(map(math.isfinite, metrics.get("frechet", {}).values()))


def _stability(runs: list[RunFolder]) -> Figure:
    measured = {run.path.name: run.metrics for run in runs if run.metrics.is_file()}
    features, samples = _frechet_settings(runs[0])
    return frechet_curves(measured, features, samples)


def _frechet_settings(run: RunFolder) -> tuple[str | None, int | None]:
    """Name of the features and number of samples, as far as the run's configuration tells."""
    if not run.config.is_file():
        return None, None
    trainer = read_run_config(run.path).trainer
    file = trainer.frechet_features
    # The file itself is a program, maybe a stranger's, and nothing here needs it to run.
    return Path(file).stem if file else "classifier features", trainer.frechet_samples
