"""Several models through one evaluator: the paper's Table 1, with intervals.

All are measured against the same images in the same features, what depends on samples with several
seeds. The 95 % confidence interval of its mean (Student's t) says how far other samples of the
*same trained model* would move it, and nothing of training the model again.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.evaluate import BATCH_SIZE, measure, told_reference
from genrev.evaluation.features.classifier import Classifier
from genrev.evaluation.features.extractors import FeatureExtractor
from genrev.evaluation.metric import METRICS, Column, EvaluationRun, Metric, Numbers
from genrev.models import GenerativeModel, load
from genrev.models.checks import require_images
from genrev.models.devices import batch_size_on
from genrev.models.inference import GenerativeAutoencoder, device_of
from genrev.models.saving import model_info
from genrev.priors import FITTED, GaussianMixturePrior
from genrev.progress import Bar
from genrev.words import counted

LEVEL = 0.95
Columns: TypeAlias = list[tuple[str, type[Metric], Column]]
_UNKNOWN = "?"

# Table 1 of Schirrmeister et al. (2018): FID on CelebA at 64x64. All but the last from Tolstikhin
# et al., "Wasserstein auto-encoders" (2018).
_PUBLISHED = {"waegan": 42.0, "waemmd": 55.0, "vae": 63.0, "revnet": 65.0}


def mean_and_interval(values: Sequence[float]) -> Numbers:
    """Mean, half width of its 95 % confidence interval (None for a single value), and the values.

    Example:
        >>> result = mean_and_interval([1.0, 2.0, 3.0])
        >>> result["mean"], round(result["half_width"], 3)  # 4.303 / √3
        (2.0, 2.484)
    """
    n, half = len(values), None
    if n > 1:
        from scipy.stats import t as student

        error = float(np.std(values, ddof=1)) / n**0.5
        half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * error
    return {"mean": float(np.mean(values)), "half_width": half, "values": list(values)}


def load_runs(
    runs: Sequence[str], device: torch.device | str | None = "cpu"
) -> dict[str, GenerativeModel]:
    """Load models that are to be compared, in float32, to ``device`` as ``genrev.load`` does.

    They go by the names of their recipes; where two are equal, by those of their folders, else by
    their whole paths.

    Raises:
        GenrevError: a run that is named twice, runs that say they were trained on different data,
            or one that cannot be loaded.
    """
    infos = [model_info(run) for run in runs]
    pairs = [(run, info.get("data", {})) for run, info in zip(runs, infos, strict=True)]
    known = {run: data for run, data in pairs if data.get("fingerprint")}
    if len({data["fingerprint"] for data in known.values()}) > 1:
        told = ", ".join(f"{run} on {data.get('name', '?')}" for run, data in known.items())
        raise GenrevError(
            f"Runs trained on different data cannot be compared ({told}); choose runs of the same "
            "images in the same size."
        )
    names = _names(runs, infos)
    return {name: load(run, device).float() for name, run in zip(names, runs, strict=True)}


def compare_models(
    models: Mapping[str, GenerativeAutoencoder],
    data: ImageData,
    n: int = 10_000,
    features: FeatureExtractor | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    classifier: Classifier | None = None,
    split: str | None = None,
    train: ImageData | None = None,
    references: int | None = None,
) -> Numbers:
    """Measure several models alike, by all metrics that have columns in the table.

    Args:
        models: by the names they get in the table.
        data: the reference; this and all that is not named here is that of ``evaluate``.
        n: number of samples per model and seed.
        seeds: of the samples.

    Returns:
        ``models``, a list of dictionaries with ``name``, ``parameters``, ``reconstruction`` (as
        ``evaluate`` gives it) and the results of ``mean_and_interval`` as ``distance`` (Fréchet),
        ``estimate`` (kernel distance), ``precision``, ``recall``, ``density`` and ``coverage``;
        beside it ``samples``, ``seeds`` and what they were measured on.

    Raises:
        GenrevError: as ``evaluate``, and models of different image shapes.
    """
    shapes = {name: tuple(model.image_shape) for name, model in models.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise GenrevError(
            f"Models of different image shapes cannot be compared ({told}); choose runs of one "
            "size."
        )
    first = next(iter(models.values()))
    require_images(first.image_shape, "A comparison takes")
    at_once = batch_size_on(device_of(first), BATCH_SIZE)
    run = EvaluationRun(first, data, n, features, 0, at_once, classifier, split, train, references)
    run = replace(run, given_features=run.extractor)  # one for all, or this says there is none
    columns, rows = _columns(), []
    fixed, sampled = (
        dict.fromkeys(name for name, kind, _ in columns if kind.sampled == s) for s in (False, True)
    )
    total = len(models) * (len(seeds) + 1)
    with Bar("comparison", total, "measurements", delay=0) as bar:
        for name, model in models.items():
            bar.set_postfix_str(name)
            once = measure(replace(run, model=model), fixed)
            bar.update()
            found = []
            for seed in seeds:
                found.append(measure(replace(run, model=model, seed=seed), sampled))
                bar.update()
            weights = model.parameters() if isinstance(model, nn.Module) else None
            size = None if weights is None else sum(weight.numel() for weight in weights)
            rows.append({"name": name, "parameters": size, **_entries(columns, once, found)})
    own = ("distance", "samples", "seed")  # of one model and seed
    reference = {key: value for key, value in found[-1]["frechet"].items() if key not in own}
    return {"models": rows, "samples": n, "seeds": list(seeds), **reference}


def describe_runs(
    comparison: Numbers, models: Mapping[str, GenerativeModel], runs: Sequence[str], data: ImageData
) -> None:
    """Add to a comparison of ``load_runs(runs)`` what is known of the models' training.

    Its models get ``run``, ``recipe``, ``steps``, ``seconds``, ``mixture_components`` and, on
    faces, ``published_fid``; it gets ``notes`` for the table.
    """
    faces = "celeba" in data.name.lower()
    for row, run in zip(comparison["models"], runs, strict=True):
        model = models[row["name"]]
        fitted = isinstance(model.prior, GaussianMixturePrior)
        row |= {"run": run, **{key: model.info.get(key) for key in ("recipe", "steps", "seconds")}}
        row["mixture_components"] = model.prior.components if fitted else None
        row["published_fid"] = _published(model, model.info) if faces else None
    comparison["notes"] = _notes(comparison["features"], data.image_shape, faces)


def comparison_markdown(comparison: Numbers, notes: Sequence[str] = ()) -> str:
    """A table of one row per model, and below it what the numbers are, and further ``notes``."""
    rows, columns = comparison["models"], sorted(_columns(), key=lambda each: not each[1].sampled)
    paper = any(row.get("published_fid") for row in rows)
    headings = [column.heading.format(features=comparison["features"]) for *_, column in columns]
    head = ["model", *headings, "parameters", "training", "steps"]
    if paper:
        head.append("FID in the paper")
    lines = [head, ["---", *("---:" for _ in head[1:])]]
    for row in rows:
        # Entries of metrics without samples lie below the metric's name.
        shown = [c.show((row if m.sampled else row[name])[c.key]) for name, m, c in columns]
        known = [_whole(row["parameters"]), _duration(row.get("seconds")), _whole(row.get("steps"))]
        if paper:
            known.append(f"{row['published_fid']:g}" if row.get("published_fid") else "")
        lines.append([row["name"].replace("|", "\\|"), *shown, *known])
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    meant = dict.fromkeys(metric.note for _, metric, _ in columns if metric.note)
    seeds = comparison["seeds"]
    facts = [
        f"{counted(comparison['samples'], 'sample')} of every model and seed against "
        f"{told_reference(comparison)}, features `{comparison['features']}` "
        f"({comparison['features_sha256'][:8]}), resize {comparison['resize']}, seeds "
        f"{', '.join(map(str, seeds))}.",
        f"± is the 95 % confidence interval of the mean over {len(seeds)} sampling seeds "
        "(Student's t): other samples of the same trained model, not other trainings of it."
        if len(seeds) > 1
        else "One sampling seed, so there is no interval.",
        "; ".join(meant) + ".",
    ]
    if any(row.get("seconds") is None for row in rows):
        facts.append(f"{_UNKNOWN}: the model's folder does not tell.")
    return f"{text}\n\n" + "\n".join(f"- {fact}" for fact in [*facts, *notes]) + "\n"


def comparison_csv(comparison: Numbers) -> str:
    """One line per model with all numbers, intervals as half widths in columns of their own."""
    told = ("samples", "features", "features_sha256", "reference", "reference_split")
    shared = {name: comparison[name] for name in told}
    columns = _columns()
    lines = [_flat(row, columns) | shared for row in comparison["models"]]
    fields = dict.fromkeys(name for line in lines for name in line)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(fields), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def _entries(
    columns: Columns, once: dict[str, Numbers], found: Sequence[dict[str, Numbers]]
) -> Numbers:
    """What the columns show: as it is, and of metrics of samples over all seeds."""
    entries: Numbers = {}
    for name, metric, column in columns:
        key = column.key
        if metric.sampled:
            entries[key] = mean_and_interval([report[name][key] for report in found])
        else:
            entries.setdefault(name, {})[key] = once[name][key]
    return entries


def _columns() -> Columns:
    """All columns, with name and class of their metrics, those that depend on samples last."""
    metrics = [(name, METRICS[name]) for name in METRICS]
    found = [(name, metric, column) for name, metric in metrics for column in metric.columns]
    for key, times in Counter(column.key for *_, column in found).most_common(1):
        if times > 1:
            raise GenrevError(f"Two metrics have a column {key!r}; give the key another name.")
    return sorted(found, key=lambda each: each[1].sampled)


def _flat(row: Numbers, columns: Columns) -> Numbers:
    flat: Numbers = {}
    for key, value in row.items():
        # Entries of metrics without samples lie below the metric's name.
        own = [(m.sampled, c) for name, m, c in columns if key == (c.key if m.sampled else name)]
        for sampled, column in own:
            entry, name = value if sampled else value[column.key], column.csv or column.key
            if sampled:
                entry = {"": entry["mean"], "ci95": entry["half_width"]}
            parts = entry if isinstance(entry, dict) else {"": entry}
            flat |= {f"{name}_{part}".rstrip("_"): number for part, number in parts.items()}
        if not own:
            flat[key] = value
    return flat


def _notes(features: str, image_shape: Sequence[int], faces: bool) -> list[str]:
    size = "x".join(str(side) for side in image_shape[1:])
    notes = [
        "`fid2048` are the features of published FID; a distance compares with a published one "
        f"only at its number of samples and size of images (here {size})."
        if features == "fid2048"
        else f"`{features}` ranks models on the same data; it is not comparable with published "
        "FID, which takes 2,048 features of Inception."
    ]
    if faces:
        notes.append(
            "FID in the paper is Table 1 of Schirrmeister et al. (2018): CelebA at 64x64, 10,000 "
            f"samples, 2,048 features; images here are {size}."
        )
    return notes


def _names(runs: Sequence[str], infos: Sequence[Numbers]) -> list[str]:
    recipes, folders = [], []
    for run, info in zip(runs, infos, strict=True):
        # A model with a fitted prior lies in a folder of the run it was fitted to.
        kind = next((kind for kind in FITTED if kind in info), None)
        place, ending = (Path(run).parent, f" + {kind}") if kind else (Path(run), "")
        folders.append(f"{place.name or place}{ending}")
        recipes.append(f"{info['recipe']}{ending}" if info.get("recipe") else folders[-1])
    names = recipes
    for others in (folders, runs):
        count = Counter(names)
        names = [n if count[n] == 1 else other for n, other in zip(names, others, strict=True)]
    for name, times in Counter(names).most_common(1):
        if times > 1:
            raise GenrevError(f"The run {name} is named twice; name every run once.")
    return names


def _published(model: GenerativeAutoencoder, info: Numbers) -> float | None:
    """The paper's FID of this kind of network; a fitted prior is not in the paper."""
    if model.prior.fitted:
        return None
    told = [info.get(key) for key in ("method", "kind", "recipe")]
    network = type(getattr(model, "net", model)).__name__
    words = [re.sub(r"[^a-z]", "", str(word).lower()) for word in [*told, network]]
    kinds = (kind for kind in _PUBLISHED if any(kind in word for word in words))
    return _PUBLISHED.get(next(kinds, ""))


def _whole(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _UNKNOWN
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
