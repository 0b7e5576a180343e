"""Go on with an interrupted run, bit for bit as if nothing had happened."""

import argparse
from pathlib import Path

from genrev.cli.results import report_finished_run
from genrev.cli.run import read_run_config
from genrev.training import is_first_process, resume

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the interrupted run")


def run(options: argparse.Namespace) -> None:
    """Resume."""
    model = resume(read_run_config(options.run), options.run)
    if model is not None and is_first_process():
        report_finished_run(options.run)
