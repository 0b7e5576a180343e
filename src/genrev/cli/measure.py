"""The commands that measure: `evaluate` a model, `compare` several, `distance` of any images."""

import argparse
import json

from genrev import evaluation
from genrev.cli.arguments import (
    add_data,
    add_n,
    add_run,
    add_seed,
    load_model,
    locked_out,
    require_positive,
)
from genrev.cli.device import add_device, chosen_device
from genrev.cli.terminal import add_json, add_path, name_or_path, print_result
from genrev.data import DataConfig
from genrev.data.sources import spellings
from genrev.errors import GenrevError
from genrev.figures import comparison_rows, save_image, write_file
from genrev.models.inference import device_of
from genrev.recipes import run_split, train_split


def configure_evaluate(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_data(parser)
    what = f"comma-separated, of {', '.join(evaluation.METRICS.names())} (default: all that suit "
    parser.add_argument("--metrics", help=f"{what}every model; some need labels or --features)")
    add_n(parser, "samples", 10_000)
    _add_reference(parser)
    add_seed(parser)
    add_device(parser)
    add_json(parser)


def run_evaluate(options: argparse.Namespace) -> None:
    model = load_model(options)
    shape = model.image_shape
    data, split = run_split(options.run, options.data, options.split, shape=shape)
    report = evaluation.evaluate(
        model,
        data,
        _names(options.metrics),
        n=options.n,
        features=evaluation.choose_features(options.features, data, device_of(model)),
        seed=options.seed,
        split=split,
        train=train_split(options.run, options.data, shape),
        references=options.references,
    )
    print_result(options, report, evaluation.format_report(report))


def configure_compare(parser: argparse.ArgumentParser) -> None:
    what = "run folders, as for evaluate"
    add_path(parser, "runs", "RUN", what, type=name_or_path, nargs="+")
    add_data(parser)
    add_path(parser, "--out", "DIR", "where to write", required=True)
    add_n(parser, "samples per model and seed", 10_000)
    _add_reference(parser)
    parser.add_argument("--seeds", type=int, default=3, help="sampling seeds (default: 3)")
    add_device(parser)
    add_json(parser)


def run_compare(options: argparse.Namespace) -> None:
    require_positive("--seeds", options.seeds)
    with locked_out(options.out):
        device = chosen_device(options)
        models = evaluation.load_runs(options.runs, device)
        shape = next(iter(models.values())).image_shape
        data, split = run_split(options.runs[0], options.data, options.split, shape=shape)
        comparison = evaluation.compare_models(
            models,
            data,
            options.n,
            evaluation.choose_features(options.features, data, device),
            range(options.seeds),
            split=split,
            train=train_split(options.runs[0], options.data, shape),
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


def configure_distance(parser: argparse.ArgumentParser) -> None:
    what = (
        "a run folder, of which samples are drawn, or model:NAME of a model that comes with genrev "
        f"or is on the hub; or {spellings()}"
    )
    add_path(parser, "a", "A", what, type=name_or_path)
    add_path(parser, "b", "B", "the same: what A is compared with", type=name_or_path)
    what = (
        "fid (extra `fid`), digits or mnist (classifiers that come with genrev), or a TorchScript "
        "module from uint8 (N, C, H, W) to (N, D); by default the classifier of what has labels"
    )
    add_path(parser, "--features", "FILE", what, type=name_or_path)
    names = ", ".join(evaluation.DISTANCES)
    parser.add_argument("--metrics", help=f"comma-separated, of {names} (default: all)")
    add_n(parser, "samples of a run", 10_000)
    what = "which split, of both or one of each (default: test, or train where there is none)"
    parser.add_argument("--split", nargs="+", metavar="SPLIT", help=what)
    what = (
        "resize all images first, for folders of several sizes: the side of squares, or height and "
        "width"
    )
    parser.add_argument("--image_size", type=int, nargs="+", metavar="SIDE", help=what)
    parser.add_argument("--channels", type=int, help="1 (grey) or 3 (RGB) for all images")
    what = "what to do about an image that cannot be read: raise (default) or skip"
    parser.add_argument("--on_error", default="raise", metavar="WHAT", help=what)
    add_seed(parser, "seed of samples and subsets")
    add_device(parser)
    add_json(parser)


def run_distance(options: argparse.Namespace) -> None:
    require_positive("-n", options.n)
    split = options.split or [None]
    if len(split) > 2:
        raise GenrevError(f"--split takes one name or two and got {len(split)}.")
    given = {name: getattr(options, name) for name in ("image_size", "channels", "on_error")}
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


def _add_reference(parser: argparse.ArgumentParser) -> None:
    """The options that say what samples are compared with, and in which features."""
    what = (
        "TorchScript module from uint8 (N, C, H, W) to (N, D), or `fid` for the 2,048 features of "
        "FID (extra `fid`); by default a classifier that genrev trains on the labels of the data"
    )
    add_path(parser, "--features", "FILE", what, type=name_or_path)
    parser.add_argument(
        "--split",
        help="reference images: a split, or `all` for the entire data set, of which the paper "
        "reports the inversion error (default: test, or train where there is none)",
    )
    what = "use N reference images, spread evenly over the split (default: all)"
    parser.add_argument("--references", type=int, metavar="N", help=what)
