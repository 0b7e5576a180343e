"""The command `fit-prior`: a mixture of Gaussians or a flow as the new prior of a model."""

import argparse
from pathlib import Path
from typing import Any

from genrev import extras
from genrev.cli import arguments
from genrev.cli.device import chosen_device
from genrev.cli.terminal import print_result
from genrev.errors import GenrevError
from genrev.evaluation import has_inception
from genrev.files.locking import LOCK_FILE
from genrev.files.paths import quoted
from genrev.models import load, save
from genrev.models.saving import CONFIG_FILE, model_folder, model_info
from genrev.priors import FITTED, GaussianMixturePrior, Prior
from genrev.training.ex_post import fit_prior
from genrev.words import counted

_OF_FLOWS = ("layers", "hidden", "steps")
_OF_KIND = dict.fromkeys(FITTED, _OF_FLOWS) | {"mixture": ("components", "covariance")}
_MUCH = 0.01  # of the numbers in encodings beyond the clamp


def run_fit_prior(options: argparse.Namespace) -> None:
    kind, given = options.kind, _given(options)
    if kind == "flow":
        extras.require("flows")  # before images are encoded
    out = _out(options)
    again = ", in place of the one before" if (out / CONFIG_FILE).is_file() else ""
    with arguments.locked_out(out):
        model = load(options.run, chosen_device(options))
        data = arguments.images_of_run(model, options, "train")
        found = fit_prior(model, data, kind, options.seed, options.by_class, **given)
        size = {name: getattr(model.prior, name) for name in _OF_KIND[kind] if name != "steps"}
        fitted = {**size, "seed": options.seed, **found}
        info = {key: value for key, value in model_info(options.run).items() if key not in _OF_KIND}
        save(model, out, {**info, kind: fitted})
    source = "" if options.data is None else f" --data {quoted(options.data)}"
    measure = f"evaluate {quoted(out)}{source}"
    # A comparison needs features: those of a classifier, or of an Inception network for colours.
    if data.num_classes > 1 or (data.image_shape[0] == 3 and has_inception()):
        measure = f"compare {quoted(options.run)} {quoted(out)}{source} --out comparison"
    text = (
        f"{_told(model.prior, found)}\n"
        f"The model with this prior is in {out}{again}. Next:\n"
        f"  genrev sample {quoted(out)} -n 100 --out samples.png\n  genrev {measure}"
    )
    print_result(options, {"folder": str(out), "kind": kind, **fitted}, text)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The options of the kind that were given; an error for those of another."""
    given = {}
    for name in dict.fromkeys(name for names in _OF_KIND.values() for name in names):
        value = getattr(options, name)
        if value is None:
            continue
        kinds = [kind for kind, names in _OF_KIND.items() if name in names]
        if options.kind not in kinds:
            theirs = " or ".join(kinds)
            raise GenrevError(
                f"--{name} belongs to --kind {theirs}; leave it out, or say --kind {kinds[0]}."
            )
        if isinstance(value, int):
            arguments.require_positive(f"--{name}", value)
        given[name] = value
    return given


def _told(prior: Prior, found: dict[str, float]) -> str:
    """What was fitted, and how well."""
    images, k = counted(int(found["images"]), "encoding"), len(prior.active_dims)
    a_class = " a class" if prior.num_classes > 1 else ""
    if isinstance(prior, GaussianMixturePrior):
        gaussians = counted(prior.components, "Gaussian")
        text = (
            f"Fitted {gaussians}{a_class} with {prior.covariance} covariances to {images}, "
            f"mean log-density {found['log_prob']:.2f} nats."
        )
    else:
        text = (
            f"Fitted a flow to {images} in {counted(int(found['steps']), 'step')}; held-out "
            f"log-likelihood {found['held_out_log_prob'] / k:.4f} nats a dimension "
            f"(one Gaussian{a_class}: {found['held_out_gaussian'] / k:.4f})."
        )
    if found["beyond_bound"] > _MUCH:
        text += (
            f"\n{found['beyond_bound']:.1%} of the numbers in these encodings lie beyond "
            f"±{prior.bound:g}, where the clamp cuts and the decoder was not trained."
        )
    return text


def _out(options: argparse.Namespace) -> Path:
    """Where the model goes: what is there already is an earlier prior, or nothing."""
    folder = model_folder(options.run)
    if options.out is None and not Path(options.run).is_dir():
        raise GenrevError(
            f"{options.run} is not a folder here; say where the model goes with --out FOLDER."
        )
    out: Path = options.out or folder / f"prior-{options.kind}"
    taken = out.exists() and (not out.is_dir() or any(p.name != LOCK_FILE for p in out.iterdir()))
    earlier = out.is_dir() and any(kind in model_info(str(out)) for kind in _OF_KIND)
    if out.resolve() == folder.resolve() or (taken and not earlier):
        raise GenrevError(
            f"{out} is taken by something other than an earlier prior and is kept as it is; "
            "name another folder with --out."
        )
    return out
