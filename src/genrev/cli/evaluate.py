"""Measure a model: inversion error, latent fit, Fréchet and kernel distance, precision, recall."""

import argparse
from pathlib import Path

from genrev.cli.results import print_json
from genrev.cli.run import add_data, add_run, run_data
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import (
    METRICS,
    Classifier,
    TorchScriptFeatures,
    classifier_for,
    evaluate,
    format_report,
    known_classifier,
)
from genrev.models import load

__all__ = ["configure", "run"]

_FEATURE_METRICS = {"frechet", "kid", "prdc"}
_ON_REQUEST = {"likelihood", "classification"}  # of some models only


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument(
        "--metrics",
        help=f"comma-separated, of {', '.join(METRICS)} (default: all that "
        "can be measured on every model; without labels or --features only the first two)",
    )
    parser.add_argument("-n", "--n", type=int, default=10_000, help="samples (default: 10000)")
    parser.add_argument(
        "--features",
        type=Path,
        metavar="FILE",
        help="TorchScript module from uint8 (N, C, H, W) to (N, D); by default a classifier that "
        "genrev trains on the labels of the data",
    )
    parser.add_argument("--split", default="test", help="reference images (default: test)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Evaluate."""
    features = None if options.features is None else TorchScriptFeatures(options.features)
    model = load(options.run)
    data = run_data(options.run, options.data, options.split)
    labelled = data.num_classes > 1
    metrics = _metrics(options.metrics, labelled, features is not None)
    train = _train_split(options)
    same = train is not None and options.split != "train" and train.fingerprint == data.fingerprint
    judged = "accuracy" in metrics or (features is None and _FEATURE_METRICS & set(metrics))
    report = evaluate(
        model,
        data,
        metrics,
        n=options.n,
        features=features,
        seed=options.seed,
        classifier=_classifier(data, None if same else train) if judged else None,
        # Data without splits serves as every split: these are the training images then.
        split="all images" if same else options.split,
    )
    if options.json:
        print_json(report)
    else:
        print(format_report(report))


def _metrics(text: str | None, labelled: bool, with_features: bool) -> list[str]:
    if text is None:
        usual = [name for name in METRICS if name not in _ON_REQUEST]
        return [name for name in usual if labelled or _needs_no_labels(name, with_features)]
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise GenrevError(
            f"--metrics {text!r} names no metric {', '.join(unknown)!r}; "
            f"choose from {', '.join(METRICS)}."
        )
    return names


def _needs_no_labels(metric: str, with_features: bool) -> bool:
    return metric != "accuracy" and (with_features or metric not in _FEATURE_METRICS)


def _train_split(options: argparse.Namespace) -> ImageData | None:
    try:
        return run_data(options.run, options.data, "train")
    except GenrevError:  # data that has the split asked for only
        return None


def _classifier(data: ImageData, train: ImageData | None) -> Classifier:
    known = known_classifier(data.fingerprint)
    return known or (classifier_for(data) if train is None else classifier_for(train, data))
