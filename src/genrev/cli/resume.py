"""Go on with an interrupted run, or with several by --seeds, as if nothing had happened."""

import argparse
from pathlib import Path

from genrev.cli.results import report_finished_run
from genrev.cli.run import read_run_config
from genrev.cli.train import report_seeds
from genrev.errors import GenrevError
from genrev.recipes import parse_config, read_yaml
from genrev.training import SEEDS_FILE, is_first_process, resume, train_several

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the interrupted run")


def run(options: argparse.Namespace) -> None:
    """Resume."""
    plan = options.run / SEEDS_FILE
    if plan.is_file():
        _resume_seeds(options.run, plan)
        return
    model = resume(read_run_config(options.run), options.run)
    if model is not None and is_first_process():
        report_finished_run(options.run)


def _resume_seeds(out: Path, plan: Path) -> None:
    values = read_yaml(plan)
    seeds, config = values.get("seeds"), values.get("config")
    if not isinstance(seeds, int) or not isinstance(config, dict):
        raise GenrevError(f"{plan} was not written by `genrev train --seeds`, or was edited since.")
    report_seeds(out, train_several(parse_config(config, str(plan)), out, seeds))
