"""Draw all figures of a run into RUN/figures; of a folder of seeds, their learning curves."""

import argparse
import re
from pathlib import Path

from genrev.cli.arguments import add_data, add_dims, add_run, check_dims, require_shape
from genrev.cli.terminal import to_path
from genrev.errors import GenrevError
from genrev.figures import FigureRun, curves_of_seeds, draw_figures, save_image
from genrev.files.locking import locked
from genrev.models import load
from genrev.recipes import read_run_config, run_data, train_split
from genrev.training import RunFolder

_CURE = "name another folder with --out"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    add_dims(
        parser,
        "latent dimensions to traverse; by default five at random (Figure 9), of a model with "
        "classes the three that are widest on average over them (Figure 12)",
    )
    parser.add_argument(
        "--out", type=to_path, metavar="FOLDER", help="where to (default: RUN/figures)"
    )


def run(options: argparse.Namespace) -> None:
    """Draw."""
    check_dims(options)
    folder = RunFolder(options.run)
    if options.out is None and not folder.path.is_dir():
        raise GenrevError(f"{options.run} is not a run folder; say where to draw with --out.")
    out = options.out or folder.figures
    seeds = _seeds(folder)
    if seeds:
        metrics = {seed.path.name: seed.metrics for seed in seeds}
        curves = curves_of_seeds(metrics, _frechet_settings(seeds[0]))
        with locked(out, _CURE, _CURE):
            for name, picture in curves.items():
                print(f"wrote {save_image(picture, out / name)}")
        return
    opened = _opened(options, folder)
    with locked(out, _CURE, _CURE):
        for path in draw_figures(opened, out):
            print(f"wrote {path}")


def _opened(options: argparse.Namespace, folder: RunFolder) -> FigureRun:
    model = load(options.run).float()
    return FigureRun(
        model,
        require_shape(model, run_data(options.run, options.data)),
        train_split(options.run, options.data),
        options.seed,
        options.dims,
        options.widest,
        folder.samples,
        folder.metrics if folder.metrics.is_file() else None,
        _frechet_settings(folder),
    )


def _seeds(folder: RunFolder) -> list[RunFolder]:
    """The runs RUN/seed0, RUN/seed1, ... of a folder that holds several, in their order."""
    found = {}
    for path in folder.path.glob("seed*"):
        match = re.fullmatch(r"seed(\d+)", path.name)
        if match and path.is_dir():
            found[int(match[1])] = RunFolder(path)
    return [found[seed] for seed in sorted(found)]


def _frechet_settings(run: RunFolder) -> tuple[str | None, int | None]:
    """Name of the features and number of samples, as far as the run's configuration tells."""
    if not run.config.is_file():
        return None, None
    trainer = read_run_config(run.path).trainer
    file = trainer.frechet_features
    # The file itself is a program, maybe a stranger's, and nothing here needs it to run.
    return Path(file).stem if file else "classifier features", trainer.frechet_samples
