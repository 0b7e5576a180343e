"""Go on with an interrupted run, or with several by --seeds, as if nothing had happened."""

import argparse
from pathlib import Path

from genrev.cli.terminal import report_finished_run, to_path
from genrev.cli.train import report_seeds
from genrev.errors import GenrevError
from genrev.evaluation import require_trusted, trust
from genrev.files.paths import quoted
from genrev.recipes import parse_config, read_run_config, read_yaml
from genrev.training import SEEDS_FILE, RunConfig, is_first_process, resume, train_several


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=to_path, metavar="RUN", help="folder of the interrupted run")
    parser.add_argument(
        "--trust",
        type=to_path,
        metavar="FILE",
        help="TorchScript features that the run names and that may run here; needed once on a "
        "machine where the run was not started",
    )


def run(options: argparse.Namespace) -> None:
    """Resume."""
    if options.trust is not None:
        trust(options.trust)
    plan = options.run / SEEDS_FILE
    if plan.is_file():
        _resume_seeds(options.run, plan)
        return
    config = read_run_config(options.run)
    _require_trusted(config, options.run)
    model = resume(config, options.run)
    if model is not None and is_first_process():
        report_finished_run(options.run)


def _resume_seeds(out: Path, plan: Path) -> None:
    values = read_yaml(plan)
    seeds, config = values.get("seeds"), values.get("config")
    if not isinstance(seeds, int) or not isinstance(config, dict):
        raise GenrevError(f"{plan} was not written by `genrev train --seeds`, or was edited since.")
    parsed = parse_config(config, str(plan))
    _require_trusted(parsed, out)
    report_seeds(out, train_several(parsed, out, seeds))


def _require_trusted(config: RunConfig, run: Path) -> None:
    features = config.trainer.frechet_features
    if features is not None and config.trainer.frechet_every is not None:
        cure = f"say `genrev resume {quoted(run)} --trust {quoted(features)}`"
        require_trusted(features, str(run), cure)
