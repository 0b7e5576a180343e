"""The command `bench`: speed and memory against named peers, interleaved in one run."""

import argparse

from genrev.bench import data, engine, train, transport
from genrev.cli.arguments import require_positive
from genrev.cli.terminal import add_json, add_path, print_result
from genrev.errors import GenrevError
from genrev.models.devices import choose_device

_BENCHMARKS = {"engine": engine, "train": train, "transport": transport, "data": data}


def configure_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("benchmark", choices=_BENCHMARKS, help="what to measure")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    what = "engine: batch sizes of celeba64 (default: 32)"
    parser.add_argument("--batch", type=int, nargs="+", metavar="N", help=what)
    what = "engine: where to compute, cpu or cuda (default: cpu)"
    parser.add_argument("--device", metavar="NAME", default="cpu", help=what)
    add_path(parser, "--out", "FILE", "engine: plot of memory and time against depth")
    add_json(parser)


def run_bench(options: argparse.Namespace) -> None:
    require_positive("--repeats", options.repeats)
    benchmark = _BENCHMARKS[options.benchmark]
    if benchmark is engine:
        result = _run_engine(options)
    elif options.batch or options.out or options.device != "cpu":
        raise GenrevError(
            f"--batch, --device and --out belong to engine, not to {options.benchmark}."
        )
    else:
        try:
            result = benchmark.run(repeats=options.repeats)
        except ImportError as error:
            raise GenrevError(f"This benchmark needs {error.name}; install it with pip.") from error
    print_result(options, result, benchmark.format_result(result))


def _run_engine(options: argparse.Namespace) -> dict[str, object]:
    batches = tuple(options.batch or (32,))
    require_positive("--batch", min(batches))
    if options.out is not None and not options.out.parent.is_dir():
        raise GenrevError(f"There is no folder {options.out.parent} for --out {options.out}.")
    device = str(choose_device(options.device))
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise GenrevError(f"`genrev bench engine` measures cpu and cuda, and not {device}.")
    result = engine.run(repeats=options.repeats, batches=batches, device=device)
    if options.out is not None:
        engine.plot(result, options.out)
    return result
