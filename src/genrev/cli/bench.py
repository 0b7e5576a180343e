"""The command `bench`: speed and memory against named peers, interleaved in one run."""

import argparse
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from tempfile import TemporaryFile
from typing import Any

from genrev.cli.arguments import locked_out, require_positive
from genrev.cli.terminal import print_result
from genrev.errors import GenrevError
from genrev.files.paths import writing
from genrev.models.devices import choose_device

# Options, their defaults, and the benchmarks that have them.
_OPTIONS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "repeats": (5, ("engine", "train", "transport", "data")),
    "batch": ((32,), ("engine",)),
    "device": ("cpu", ("engine",)),
    "minutes": (None, ("gpu", "table1")),
    "data": (None, ("table1",)),
    "n": (10_000, ("table1",)),
    "features": (None, ("table1",)),
    "out": (None, ("engine", "gpu", "table1")),
}


def run_bench(options: argparse.Namespace) -> None:
    _complete(options)
    runners: dict[str, Callable[[argparse.Namespace], Any]] = {
        "engine": _run_engine, "gpu": _run_gpu, "table1": _run_table1
    }  # fmt: skip
    # Only what is asked for is imported, since they need different libraries.
    benchmark = import_module(f"genrev.bench.{options.benchmark}")
    # Devices that are not there are told first; what comes then takes a while to its first bar.
    choose_device(options.device)
    print(f"measuring {options.benchmark} ...", file=sys.stderr)
    if options.benchmark in runners:
        result = runners[options.benchmark](options)
    else:
        result = benchmark.run(repeats=options.repeats)
    print_result(options, result, benchmark.format_result(result))


def _complete(options: argparse.Namespace) -> None:
    """Refuse options of other benchmarks, and fill in defaults."""
    for name, (default, owners) in _OPTIONS.items():
        value, option = getattr(options, name), f"--{name}" if len(name) > 1 else f"-{name}"
        if value is None:
            setattr(options, name, default)
        elif options.benchmark not in owners:
            raise GenrevError(
                f"{option} belongs to {', '.join(owners)} and not to {options.benchmark}; leave it "
                "out."
            )
        needed = name in ("minutes", "out", "data") and options.benchmark in owners
        if needed and value is None and (name, options.benchmark) != ("out", "engine"):
            raise GenrevError(f"`genrev bench {options.benchmark}` needs {option}; see --help.")
    require_positive("--repeats", options.repeats)
    require_positive("--batch", min(options.batch))
    if options.n < 10:
        raise GenrevError(f"-n must be 10 or more and is {options.n}.")
    if options.minutes is not None and not 0 < options.minutes < 1e6:
        raise GenrevError(f"--minutes must be above 0 and is {options.minutes:g}.")


def _run_engine(options: argparse.Namespace) -> dict[str, object]:
    from genrev.bench import engine

    if options.out is not None:  # now, and not after minutes
        if not options.out.parent.is_dir():
            raise GenrevError(f"There is no folder {options.out.parent} for --out {options.out}.")
        with writing(options.out, "name a file in a folder that you may write to"):
            TemporaryFile(dir=options.out.parent).close()
    device = str(choose_device(options.device))
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise GenrevError(f"`genrev bench engine` measures cpu and cuda, and not {device}.")
    batches = tuple(options.batch)
    result = engine.run(repeats=options.repeats, batches=batches, device=device)
    if options.out is not None:
        try:
            with writing(options.out):
                engine.plot(result, options.out)
        except GenrevError as error:  # what was measured is worth more than its picture
            warnings.warn(str(error), stacklevel=2)
    return result


def _run_gpu(options: argparse.Namespace) -> dict[str, object]:
    from genrev.bench import gpu

    with locked_out(options.out):
        return gpu.run(options.minutes, options.out)


def _run_table1(options: argparse.Namespace) -> dict[str, object]:
    """Train, `compare` and `figures`, as the commands do; what they print goes to stderr."""
    from genrev.bench import table1
    from genrev.cli.measure import run_compare
    from genrev.cli.parsers import configure_compare, configure_figures
    from genrev.cli.pictures import run_figures

    with locked_out(options.out), redirect_stdout(sys.stderr):
        plan = table1.Plan.begin(options.out, options.minutes, options.data)
        table1.require_features(plan.data, options.features)  # now, and not after hours
        runs = list(map(str, table1.train_all(plan)))
        compared = options.out / "compare"
        if not table1.is_compared(compared, runs, options.n):
            features = ["--features", options.features] if options.features else []
            line = [*runs, "--out", str(compared), "-n", str(options.n), *features]
            _command("compare", configure_compare, run_compare, line)
        for run in runs:
            if run not in plan.drawn:
                _command("figures", configure_figures, run_figures, [run])
                plan.drawn.append(run)
                plan.write()
    return table1.describe(plan, compared)


def _command(
    name: str,
    configure: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace], None],
    line: list[str],
) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    configure(parser)
    run(parser.parse_args(line, argparse.Namespace(command=name)))
