"""The command `fit-prior`: a mixture of Gaussians as the new prior of a trained model."""

import argparse
from pathlib import Path

from genrev.cli import arguments
from genrev.cli.device import add_device, chosen_device
from genrev.cli.terminal import add_json, add_path, print_result
from genrev.errors import GenrevError
from genrev.evaluation import has_inception
from genrev.files.locking import LOCK_FILE
from genrev.files.paths import quoted
from genrev.models import load, save
from genrev.models.saving import model_folder, model_info
from genrev.training.ex_post import fit_prior

_FOLDER = "prior-mixture"


def configure_fit_prior(parser: argparse.ArgumentParser) -> None:
    arguments.add_run(parser)
    arguments.add_data(parser)
    parser.add_argument(
        "--components", type=int, default=10, help="Gaussians in every class (default: 10)"
    )
    parser.add_argument(
        "--covariance", choices=("full", "diag"), default="full", help="of each (default: full)"
    )
    arguments.add_seed(parser, "seed of the fit")
    add_path(parser, "--out", "FOLDER", f"model folder (default: RUN/{_FOLDER})")
    add_device(parser)
    add_json(parser)


def run_fit_prior(options: argparse.Namespace) -> None:
    arguments.require_positive("--components", options.components)
    out = _out(options)
    with arguments.locked_out(out):
        model = load(options.run, chosen_device(options))
        data = arguments.images_of_run(model, options, "train")
        fit = {name: getattr(options, name) for name in ("components", "covariance", "seed")}
        fitted = {**fit, "images": len(data), "log_density": fit_prior(model, data, **fit)}
        save(model, out, {**model_info(options.run), "mixture": fitted})
    source = "" if options.data is None else f" --data {quoted(options.data)}"
    measure = f"evaluate {quoted(out)}{source}"
    # A comparison needs features: those of a classifier, or of an Inception network for colours.
    if data.num_classes > 1 or (data.image_shape[0] == 3 and has_inception()):
        measure = f"compare {quoted(options.run)} {quoted(out)}{source} --out comparison"
    text = (
        f"Fitted {options.components} Gaussians a class with {options.covariance} covariances to "
        f"{len(data):,} encodings, mean log-density {fitted['log_density']:.2f} nats.\n"
        f"The model with this prior is in {out}. Next:\n"
        f"  genrev sample {quoted(out)} -n 100 --out samples.png\n  genrev {measure}"
    )
    print_result(options, {"folder": str(out), **fitted}, text)


def _out(options: argparse.Namespace) -> Path:
    """Where the model goes: what is there already is an earlier mixture, or nothing."""
    folder = model_folder(options.run)
    if options.out is None and not Path(options.run).is_dir():
        raise GenrevError(
            f"{options.run} is not a folder here; say where the model goes with --out FOLDER."
        )
    out: Path = options.out or folder / _FOLDER
    taken = out.exists() and (not out.is_dir() or any(p.name != LOCK_FILE for p in out.iterdir()))
    earlier = out.is_dir() and "mixture" in model_info(str(out))
    if out.resolve() == folder.resolve() or (taken and not earlier):
        raise GenrevError(
            f"{out} is taken by something other than an earlier mixture and is kept as it is; "
            "name another folder with --out."
        )
    return out
