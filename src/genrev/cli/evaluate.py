"""Measure a model: reconstruction, latent fit, Fréchet and kernel distance, precision, recall."""

import argparse

from genrev.cli.paths import name_or_path
from genrev.cli.results import print_json
from genrev.cli.run import add_data, add_run, run_data, run_split
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import (
    METRICS,
    Classifier,
    choose_features,
    classifier_for,
    evaluate,
    evenly_spread,
    format_report,
    known_classifier,
)
from genrev.models import load

__all__ = ["add_reference", "classifier_of", "configure", "reference_of", "run", "train_split"]

_FEATURE_METRICS = {"frechet", "kid", "prdc"}
_ON_REQUEST = {"likelihood", "classification"}  # of some models only


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument(
        "--metrics",
        help=f"comma-separated, of {', '.join(METRICS)} (default: all that suit "
        "every model; some need labels or --features)",
    )
    parser.add_argument("-n", "--n", type=int, default=10_000, help="samples (default: 10000)")
    add_reference(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_reference(parser: argparse.ArgumentParser) -> None:
    """The options that say what samples are compared with, and in which features."""
    parser.add_argument(
        "--features",
        type=name_or_path,
        metavar="FILE",
        help="TorchScript module from uint8 (N, C, H, W) to (N, D), or `fid` for the 2,048 "
        "features of FID (extra `fid`); by default a classifier that genrev trains on the labels "
        "of the data",
    )
    parser.add_argument(
        "--split",
        help="reference images: a split, or `all` for the entire data set, of which the paper "
        "reports the inversion error (default: test, or train where there is none)",
    )
    parser.add_argument(
        "--references",
        type=int,
        metavar="N",
        help="use N reference images, spread evenly over the split (default: all)",
    )


def run(options: argparse.Namespace) -> None:
    """Evaluate."""
    model = load(options.run).float()
    data, split = run_split(options.run, options.data, options.split)
    features = choose_features(options.features, data)
    train = train_split(options.run, options.data)
    labelled = set(data.class_names) | set(train.class_names if train is not None else ())
    same = train is not None and split != "train" and train.fingerprint == data.fingerprint
    can = {
        "accuracy": model.prior.num_classes > 1 and set(model.class_names) <= labelled,
        "memorisation": split != "all"
        and train is not None
        and train.fingerprint != data.fingerprint,
        **dict.fromkeys(_FEATURE_METRICS, data.num_classes > 1 or features is not None),
    }
    metrics = _metrics(options.metrics, can)
    if "memorisation" in metrics and split == "all":
        raise GenrevError(
            "memorisation needs images that were held out, and --split all has those of the "
            "training among its images; leave the metric out, or --split all."
        )
    judged = "accuracy" in metrics or (features is None and _FEATURE_METRICS & set(metrics))
    classifier = classifier_of(data, None if same else train, split) if judged else None
    report = evaluate(
        model,
        reference_of(data, options.references),
        metrics,
        n=options.n,
        features=features,
        seed=options.seed,
        classifier=classifier,
        # Data without splits serves as every split: these are the training images then.
        split="all images" if same else split,
        train=train,
    )
    if options.json:
        print_json(report)
    else:
        print(format_report(report))


def reference_of(data: ImageData, count: int | None) -> ImageData:
    """The reference images that --references leaves."""
    if count is not None and count < 1:
        raise GenrevError(f"--references must be 1 or more and is {count}.")
    return data if count is None else evenly_spread(data, count)


def _metrics(text: str | None, can: dict[str, bool]) -> list[str]:
    if text is None:
        usual = [name for name in METRICS if name not in _ON_REQUEST]
        return [name for name in usual if can.get(name, True)]
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise GenrevError(
            f"--metrics {text!r} names no metric {', '.join(unknown)!r}; "
            f"choose from {', '.join(METRICS)}."
        )
    return names


def train_split(run: str, data: str | None) -> ImageData | None:
    """The images that the run was trained on; None for data that has other splits only."""
    try:
        return run_data(run, data, "train", announced=True)
    except GenrevError:
        return None


def classifier_of(data: ImageData, train: ImageData | None, split: str) -> Classifier:
    """The classifier of some data; where there is none yet, it is trained on ``train``."""
    # All splits together have the classifier of the training images.
    known = known_classifier(train if split == "all" and train is not None else data)
    return known or (classifier_for(data) if train is None else classifier_for(train, data))
