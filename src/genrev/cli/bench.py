"""Measure speed and memory against named peers, interleaved in one run."""

import argparse

import torch

from genrev.bench import data, engine, train, transport
from genrev.cli.terminal import print_json, to_path
from genrev.errors import GenrevError

_BENCHMARKS = {"engine": engine, "train": train, "transport": transport, "data": data}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("benchmark", choices=_BENCHMARKS, help="what to measure")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument(
        "--batch",
        type=int,
        nargs="+",
        metavar="N",
        help="engine: batch sizes of celeba64 (default: 32)",
    )
    parser.add_argument("--device", default="cpu", help="engine: cpu (default) or cuda")
    parser.add_argument(
        "--out", type=to_path, metavar="FILE", help="engine: plot of memory and time against depth"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    """Measure."""
    if options.repeats < 1:
        raise GenrevError(f"--repeats must be 1 or more and is {options.repeats}.")
    if options.benchmark == "engine":
        result = _run_engine(options)
    elif options.batch or options.out or options.device != "cpu":
        raise GenrevError(
            f"--batch, --device and --out belong to engine, not to {options.benchmark}."
        )
    else:
        result = _run(options)
    if options.json:
        print_json(result)
    else:
        print(_BENCHMARKS[options.benchmark].format_result(result))


def _run(options: argparse.Namespace) -> dict[str, object]:
    try:
        return _BENCHMARKS[options.benchmark].run(repeats=options.repeats)
    except ImportError as error:
        raise GenrevError(f"This benchmark needs {error.name}; install it with pip.") from error


def _run_engine(options: argparse.Namespace) -> dict[str, object]:
    batches = tuple(options.batch or (32,))
    if min(batches) < 1:
        raise GenrevError(f"--batch must be 1 or more and is {min(batches)}.")
    if options.out is not None and not options.out.parent.is_dir():
        raise GenrevError(f"There is no folder {options.out.parent} for --out {options.out}.")
    if options.device not in ("cpu", "cuda"):
        raise GenrevError(f"--device must be cpu or cuda and is {options.device!r}.")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise GenrevError("--device cuda needs a CUDA device, and PyTorch finds none here.")
    result = engine.run(repeats=options.repeats, batches=batches, device=options.device)
    if options.out is not None:
        engine.plot(result, options.out)
    return result
