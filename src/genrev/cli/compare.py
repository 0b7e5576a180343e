"""Compare trained models in one table, the paper's Table 1, and one picture.

Writes compare.md, compare.csv, compare.json and compare.png. All runs have to be of the same data
and image shape.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from genrev.cli.evaluate import add_reference, classifier_of, reference_of, train_split
from genrev.cli.paths import name_or_path, to_path
from genrev.cli.results import print_json
from genrev.cli.run import add_data, images_for, run_split
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import (
    choose_features,
    compare_models,
    comparison_csv,
    comparison_markdown,
)
from genrev.figures import image_grid, save_image, write_file
from genrev.files.locking import locked
from genrev.models import GenerativeAutoencoder, load
from genrev.models.inference import inference
from genrev.models.saving import model_info
from genrev.priors import GaussianMixturePrior

__all__ = ["configure", "run"]

_CURE = "name another folder with --out"
_COLUMNS = 10  # samples of every model in the picture

# Table 1 of Schirrmeister et al. (2018): FID on CelebA at 64x64. All but the last from Tolstikhin
# et al., "Wasserstein auto-encoders" (2018).
_PUBLISHED = {"waegan": 42.0, "waemmd": 55.0, "vae": 63.0, "revnet": 65.0}


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
    infos = [model_info(run) for run in options.runs]
    _require_same_data(options.runs, infos)
    names = _names(options.runs, infos)
    models = {name: load(run).float() for name, run in zip(names, options.runs, strict=True)}
    data, split = run_split(options.runs[0], options.data, options.split)
    features = choose_features(options.features, data)
    if features is None and data.num_classes < 2:
        raise GenrevError(
            f"the data {data.name} has no labels to train a classifier on; name features with "
            "--features FILE."
        )
    train = train_split(options.runs[0], options.data)
    comparison = compare_models(
        models,
        reference_of(data, options.references),
        options.n,
        features,
        range(options.seeds),
        classifier_of(data, train, split) if features is None else None,
        split,
    )
    faces = "celeba" in data.name.lower()
    for row, run, info in zip(comparison["models"], options.runs, infos, strict=True):
        known = {key: info.get(key) for key in ("recipe", "steps", "seconds")}
        model = models[row["name"]]
        fitted = isinstance(model.prior, GaussianMixturePrior)
        known["mixture_components"] = model.prior.components if fitted else None
        published = _published(model, info) if faces else None
        row |= {"run": run, **known, "published_fid": published}
    comparison["notes"] = _notes(comparison, data, faces)
    _write(comparison, _samples(models, data), options.out)
    if options.json:
        print_json(comparison)
        return
    print(comparison_markdown(comparison, comparison["notes"]))
    print(f"wrote compare.md, compare.csv, compare.json and compare.png in {options.out}")


def _require_same_data(runs: list[str], infos: list[dict[str, Any]]) -> None:
    """As far as the models tell; image shapes are compared with the models at hand."""
    known = {
        run: info["data"]
        for run, info in zip(runs, infos, strict=True)
        if info.get("data", {}).get("fingerprint")
    }
    if len({data["fingerprint"] for data in known.values()}) > 1:
        told = ", ".join(f"{run} on {data.get('name', '?')}" for run, data in known.items())
        raise GenrevError(
            f"runs trained on different data cannot be compared ({told}); choose runs of the same "
            "images in the same size."
        )


def _names(runs: list[str], infos: list[dict[str, Any]]) -> list[str]:
    """Names of recipes; of folders where two are equal, and whole paths where these are, too."""

    def unless_equal(names: list[str], others: list[str]) -> list[str]:
        count = Counter(names)
        return [n if count[n] == 1 else other for n, other in zip(names, others, strict=True)]

    fitted = ["mixture" in info for info in infos]
    places = [Path(run).parent if new else Path(run) for run, new in zip(runs, fitted, strict=True)]
    endings = [" + mixture" if new else "" for new in fitted]
    folders = [f"{place.name or place}{end}" for place, end in zip(places, endings, strict=True)]
    recipes = [
        f"{info['recipe']}{end}" if info.get("recipe") else folder
        for info, end, folder in zip(infos, endings, folders, strict=True)
    ]
    names = unless_equal(unless_equal(recipes, folders), runs)
    for name, times in Counter(names).items():
        if times > 1:
            raise GenrevError(f"the run {name} is named twice; name every run once.")
    return names


def _published(model: GenerativeAutoencoder, info: dict[str, Any]) -> float | None:
    """The paper's FID of this kind of model; a fitted prior is not in the paper."""
    if isinstance(model.prior, GaussianMixturePrior):
        return None
    told = [info.get(key) for key in ("method", "kind", "recipe")]
    words = [re.sub(r"[^a-z]", "", str(word).lower()) for word in [*told, type(model).__name__]]
    for kind, value in _PUBLISHED.items():
        if any(kind in word for word in words):
            return value
    return None


def _notes(comparison: dict[str, Any], data: ImageData, faces: bool) -> list[str]:
    features = comparison["features"]
    size = "x".join(str(side) for side in data.image_shape[1:])
    if features == "fid2048":
        notes = [
            "`fid2048` are the features of published FID; a distance compares with a published one "
            f"only at its number of samples and size of images (here {size})."
        ]
    else:
        notes = [
            f"`{features}` ranks models on the same data; it is not comparable with published FID, "
            "which takes 2,048 features of Inception."
        ]
    if faces:
        notes.append(
            "FID in the paper is Table 1 of Schirrmeister et al. (2018): CelebA at 64x64, 10,000 "
            f"samples, 2,048 features; images here are {size}."
        )
    return notes


def _samples(models: Mapping[str, GenerativeAutoencoder], data: ImageData) -> Image.Image:
    """A row of real images, and one of samples from every model."""
    rows = [images_for(data, min(_COLUMNS, len(data)))]
    for model in models.values():
        with inference(model):
            drawn = model.sample(len(rows[0]), generator=torch.Generator().manual_seed(0))
        rows.append(drawn.cpu())
    return image_grid(torch.cat(rows), len(rows[0]), row_labels=["real images", *models])


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
