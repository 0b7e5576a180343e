"""Measure speed and memory against named peers, interleaved in one run."""

import argparse

from genrev.bench import data, transport
from genrev.cli.results import print_json
from genrev.errors import GenrevError

__all__ = ["configure", "run"]

_BENCHMARKS = {"transport": transport, "data": data}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("benchmark", choices=_BENCHMARKS, help="what to measure")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Measure."""
    if options.repeats < 1:
        raise GenrevError(f"--repeats must be 1 or more and is {options.repeats}.")
    benchmark = _BENCHMARKS[options.benchmark]
    try:
        result = benchmark.run(repeats=options.repeats)
    except ImportError as error:
        raise GenrevError(f"This benchmark needs {error.name}; install it with pip.") from error
    if options.json:
        print_json(result)
    else:
        print(benchmark.format_result(result))
