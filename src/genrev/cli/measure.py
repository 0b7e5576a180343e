"""The commands that measure: `evaluate` a model, `compare` several, `distance` of any images."""

import argparse
import json

from genrev import evaluation
from genrev.cli.arguments import load_model, locked_out, require_positive
from genrev.cli.device import chosen_device
from genrev.cli.parsers import given_data
from genrev.cli.terminal import print_result
from genrev.data import DataConfig
from genrev.errors import GenrevError
from genrev.figures import comparison_rows, save_image, write_file
from genrev.models.inference import device_of
from genrev.recipes import run_split, train_split


def run_evaluate(options: argparse.Namespace) -> None:
    metrics = _names(options.metrics)
    evaluation.require_metrics(metrics)  # before anything is read
    model = load_model(options)
    given, shape = given_data(options), model.image_shape
    data, split = run_split(options.run, given, options.split, shape=shape)
    report = evaluation.evaluate(
        model,
        data,
        metrics,
        n=options.n,
        features=evaluation.choose_features(options.features, data, device_of(model)),
        seed=options.seed,
        split=split,
        train=train_split(options.run, given, shape),
        references=options.references,
    )
    print_result(options, report, evaluation.format_report(report))


def run_compare(options: argparse.Namespace) -> None:
    require_positive("--seeds", options.seeds)
    with locked_out(options.out):
        device = chosen_device(options)
        models = evaluation.load_runs(options.runs, device)
        given, shape = given_data(options), next(iter(models.values())).image_shape
        data, split = run_split(options.runs[0], given, options.split, shape=shape)
        comparison = evaluation.compare_models(
            models,
            data,
            options.n,
            evaluation.choose_features(options.features, data, device),
            range(options.seeds),
            split=split,
            train=train_split(options.runs[0], given, shape),
            references=options.references,
        )
        evaluation.describe_runs(comparison, models, options.runs, data)
        table = evaluation.comparison_markdown(comparison, comparison["notes"])
        texts = {
            "compare.csv": evaluation.comparison_csv(comparison),
            "compare.json": json.dumps(comparison, indent=2, allow_nan=False) + "\n",
            "compare.md": f"{table}\n![samples](compare.png)\n",
        }
        # All at the end, so that what is in the folder stays until everything is there.
        save_image(comparison_rows(models, data), options.out / "compare.png")
        for name, text in texts.items():
            write_file(options.out / name, text.encode())
    wrote = f"wrote compare.md, compare.csv, compare.json and compare.png in {options.out}"
    print_result(options, comparison, f"{table}\n{wrote}")


def run_distance(options: argparse.Namespace) -> None:
    require_positive("-n", options.n)
    split = options.split or [None]
    if len(split) > 2:
        raise GenrevError(f"--split takes one name or two and got {len(split)}.")
    asked = {name: getattr(options, name) for name in ("image_size", "channels", "on_error")}
    given = {name: value for name, value in asked.items() if value is not None}
    if size := options.image_size:
        given["image_size"] = size[0] if len(size) == 1 else size
    result = evaluation.distance(
        options.a,
        options.b,
        options.n,
        options.features,
        _names(options.metrics),
        options.seed,
        chosen_device(options),
        (split[0], split[-1]),
        DataConfig.parse(given, "", "the command line"),
    )
    print_result(options, result, evaluation.format_distance(result))


def _names(text: str | None) -> list[str] | None:
    """The names in a list with commas."""
    if text is None:
        return None
    return [name.strip() for name in text.split(",") if name.strip()]
