"""Compare trained models in one table, the paper's Table 1, and one picture.

Writes compare.md, compare.csv, compare.json and compare.png. All runs have to be of the same data
and image shape.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image

from genrev.cli.arguments import add_data, add_reference
from genrev.cli.terminal import name_or_path, print_json, to_path
from genrev.errors import GenrevError
from genrev.evaluation import (
    choose_features,
    compare_models,
    comparison_csv,
    comparison_markdown,
    describe_runs,
    load_runs,
)
from genrev.figures import comparison_rows, save_image, write_file
from genrev.files.locking import locked
from genrev.recipes import run_split, train_split

_CURE = "name another folder with --out"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "runs", type=name_or_path, metavar="RUN", nargs="+", help="run folders, as for evaluate"
    )
    add_data(parser)
    parser.add_argument("--out", type=to_path, metavar="DIR", required=True, help="where to write")
    parser.add_argument(
        "-n", "--n", type=int, default=10_000, help="samples per model and seed (default: 10000)"
    )
    add_reference(parser)
    parser.add_argument("--seeds", type=int, default=3, help="sampling seeds (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")


def run(options: argparse.Namespace) -> None:
    """Compare."""
    if options.seeds < 1:
        raise GenrevError(f"--seeds must be 1 or more and is {options.seeds}.")
    with locked(options.out, _CURE, _CURE):
        _compare(options)


def _compare(options: argparse.Namespace) -> None:
    models = load_runs(options.runs)
    data, split = run_split(options.runs[0], options.data, options.split)
    comparison = compare_models(
        models,
        data,
        options.n,
        choose_features(options.features, data),
        range(options.seeds),
        split=split,
        train=train_split(options.runs[0], options.data),
        references=options.references,
    )
    describe_runs(comparison, models, options.runs, data)
    _write(comparison, comparison_rows(models, data), options.out)
    if options.json:
        print_json(comparison)
        return
    print(comparison_markdown(comparison, comparison["notes"]))
    print(f"wrote compare.md, compare.csv, compare.json and compare.png in {options.out}")


def _write(comparison: dict[str, Any], samples: Image.Image, out: Path) -> None:
    """All at the end, so that what is in the folder stays as it was until everything is there."""
    texts = {
        "compare.csv": comparison_csv(comparison),
        "compare.json": json.dumps(comparison, indent=2, allow_nan=False) + "\n",
        "compare.md": comparison_markdown(comparison, comparison["notes"])
        + "\n![samples](compare.png)\n",
    }
    save_image(samples, out / "compare.png")
    for name, text in texts.items():
        write_file(out / name, text.encode())
