"""Measure a model: reconstruction, latent fit, Fréchet and kernel distance, precision, recall."""

import argparse

from genrev.cli.arguments import add_data, add_reference, add_run
from genrev.cli.terminal import print_json
from genrev.evaluation import METRICS, choose_features, evaluate, format_report
from genrev.models import load
from genrev.recipes import run_split, train_split


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run(parser)
    add_data(parser)
    parser.add_argument(
        "--metrics",
        help=f"comma-separated, of {', '.join(METRICS.names())} (default: all that suit "
        "every model; some need labels or --features)",
    )
    parser.add_argument("-n", "--n", type=int, default=10_000, help="samples (default: 10000)")
    add_reference(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Evaluate."""
    names = None if options.metrics is None else options.metrics.split(",")
    model = load(options.run).float()
    data, split = run_split(options.run, options.data, options.split)
    report = evaluate(
        model,
        data,
        None if names is None else [name.strip() for name in names if name.strip()],
        n=options.n,
        features=choose_features(options.features, data),
        seed=options.seed,
        split=split,
        train=train_split(options.run, options.data),
        references=options.references,
    )
    if options.json:
        print_json(report)
    else:
        print(format_report(report))
