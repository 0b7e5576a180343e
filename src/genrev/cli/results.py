"""What commands print: a few plain lines, or JSON."""

import json
from pathlib import Path
from typing import Any

from genrev.files.paths import quoted

__all__ = ["print_json", "report_finished_run"]


def print_json(values: Any) -> None:
    """Print JSON, numbers as numbers."""
    print(json.dumps(values, indent=2, allow_nan=False))


def report_finished_run(run: Path) -> None:
    """Say where the model is and what to do with it."""
    print(f"The trained model is in {run}. Next:")
    print(f"  genrev sample {quoted(run)} -n 100 --out samples.png")
    print(f"  genrev evaluate {quoted(run)}")
    print(f"  genrev figures {quoted(run)}")
