"""Measure a model: inversion error, latent fit, Fréchet and kernel distance, precision, recall."""

import argparse
from pathlib import Path

from genrev.cli.results import print_json
from genrev.cli.run import add_data, add_run, load_model, run_data
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

__all__ = ["configure", "run"]

_FEATURE_METRICS = {"frechet", "kid", "prdc"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument(
        "--metrics",
        help=f"comma-separated, of {', '.join(METRICS)} (default: all that the data allows; "
        "accuracy needs labels)",
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
    model = load_model(options.run)
    data = run_data(options.run, options.data, options.split)
    metrics = _metrics(options.metrics, labelled=model.prior.num_classes > 1)
    judged = "accuracy" in metrics or (features is None and _FEATURE_METRICS & set(metrics))
    classifier = _classifier(options, data) if judged else None
    report = evaluate(
        model,
        data,
        metrics,
        n=options.n,
        features=features,
        seed=options.seed,
        classifier=classifier,
        split=options.split,
    )
    if options.json:
        print_json(report)
    else:
        print(format_report(report))


def _metrics(text: str | None, labelled: bool) -> list[str]:
    if text is None:
        return [name for name in METRICS if labelled or name != "accuracy"]
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise GenrevError(
            f"--metrics {text!r} names no metric {', '.join(unknown)!r}; "
            f"choose from {', '.join(METRICS)}."
        )
    return names


def _classifier(options: argparse.Namespace, data: ImageData) -> Classifier:
    known = known_classifier(data.fingerprint)
    return known or classifier_for(run_data(options.run, options.data, "train"), data)
