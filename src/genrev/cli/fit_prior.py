"""Fit a mixture of Gaussians to a trained model's encodings, as its new prior.

Encoder and decoder stay as they are. The model with the new prior goes into a folder of its own,
which every command takes like a run: sample, evaluate, compare, figures, traverse.
"""

import argparse
from pathlib import Path
from typing import Any

from torch import Tensor

from genrev.cli.arguments import add_data, add_run, require_shape
from genrev.cli.terminal import print_json, to_path
from genrev.errors import GenrevError
from genrev.evaluation import has_inception
from genrev.files.locking import LOCK_FILE, locked
from genrev.files.paths import quoted
from genrev.models import load, save
from genrev.models.saving import model_folder, model_info
from genrev.priors import GaussianMixturePrior
from genrev.recipes import run_data
from genrev.training.ex_post import fit_to_encodings, restricted_encodings

_FOLDER = "prior-mixture"
_CURE = "name another folder with --out"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument(
        "--components", type=int, default=10, help="Gaussians in every class (default: 10)"
    )
    parser.add_argument(
        "--covariance", choices=("full", "diag"), default="full", help="of each (default: full)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the fit (default: 0)")
    parser.add_argument(
        "--out", type=to_path, metavar="FOLDER", help=f"model folder (default: RUN/{_FOLDER})"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Fit."""
    if options.components < 1:
        raise GenrevError(f"--components must be 1 or more and is {options.components}.")
    out = _out(options)
    with locked(out, _CURE, _CURE):
        _fit(options, out)


def _fit(options: argparse.Namespace, out: Path) -> None:
    model = load(options.run)
    data = require_shape(model, run_data(options.run, options.data, "train"))
    active, labels = restricted_encodings(model, data)
    prior = fit_to_encodings(
        model, active, labels, options.components, options.covariance, options.seed
    )
    fitted = {
        "components": options.components,
        "covariance": options.covariance,
        "seed": options.seed,
        "images": len(data),
        "log_density": _mean_log_density(prior, active, labels),
    }
    model.prior = prior
    save(model, out, {**model_info(options.run), "mixture": fitted})
    # Without labels, `genrev compare` needs features made elsewhere.
    comparable = data.num_classes > 1 or (data.image_shape[0] == 3 and has_inception())
    _report(options, out, fitted, comparable)


def _report(
    options: argparse.Namespace, out: Path, fitted: dict[str, Any], comparable: bool
) -> None:
    if options.json:
        print_json({"folder": str(out), **fitted})
        return
    print(
        f"Fitted {options.components} Gaussians a class with {options.covariance} covariances to "
        f"{fitted['images']:,} encodings, mean log-density {fitted['log_density']:.2f} nats."
    )
    print(f"The model with this prior is in {out}. Next:")
    print(f"  genrev sample {quoted(out)} -n 100 --out samples.png")
    data = "" if options.data is None else f" --data {quoted(options.data)}"
    if comparable:
        print(f"  genrev compare {quoted(options.run)} {quoted(out)}{data} --out comparison")
    else:  # there are no features, which a comparison needs
        print(f"  genrev evaluate {quoted(out)}{data}")


def _out(options: argparse.Namespace) -> Path:
    folder = model_folder(options.run)
    if options.out is None and not Path(options.run).is_dir():
        raise GenrevError(
            f"{options.run} is not a folder here; say where the model goes with --out FOLDER."
        )
    out: Path = options.out or folder / _FOLDER
    earlier = out.is_dir() and "mixture" in model_info(str(out))
    if out.resolve() == folder.resolve() or (_taken(out) and not earlier):
        raise GenrevError(
            f"{out} is taken by something other than an earlier mixture and is kept as it is; "
            "name another folder with --out."
        )
    return out


def _taken(path: Path) -> bool:
    return path.exists() and (not path.is_dir() or any(p.name != LOCK_FILE for p in path.iterdir()))


def _mean_log_density(prior: GaussianMixturePrior, active: Tensor, labels: Tensor) -> float:
    """Of every encoding in its own class, in nats."""
    total = sum(
        float(prior.active_log_prob(active[labels == label], label).double().sum())
        for label in range(prior.num_classes)
    )
    return total / len(active)
