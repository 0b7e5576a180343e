"""All metrics of one model on one data set, each with what it was measured on.

Samples are measured as the 8-bit image files they would be stored in.
"""

import math
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from genrev.data import DataConfig, ImageData
from genrev.data.arrays import Given, as_image_data
from genrev.data.load import load_held_out
from genrev.errors import GenrevError
from genrev.evaluation.features.choice import choose_features
from genrev.evaluation.features.classifier import Classifier
from genrev.evaluation.features.extractors import FeatureExtractor
from genrev.evaluation.metric import METRICS, EvaluationRun, Metric, Numbers
from genrev.models.checks import num_classes_of, refuse_path, require_images
from genrev.models.devices import batch_size_on, tf32
from genrev.models.inference import GenerativeAutoencoder, device_of, is_autoencoder
from genrev.progress import Bar
from genrev.words import counted

BATCH_SIZE = 100  # on the CPU
_FEWEST = 10
_BY_FEATURES = ("frechet", "kid", "prdc")


def evaluate(
    model: GenerativeAutoencoder,
    data: ImageData | Given | str | Path,
    metrics: Iterable[str] | None = None,
    n: int = 10_000,
    features: FeatureExtractor | str | Path | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    classifier: Classifier | None = None,
    split: str | None = None,
    train: ImageData | Given | str | Path | None = None,
    references: int | None = None,
) -> dict[str, Numbers]:
    """Measure a model, which keeps its mode, on the device where it is.

    Args:
        data: the reference, all of whose images are used (by ``prdc`` at most ``n``, chosen at
            random, since it compares fairly only at equal numbers): an ``ImageData``, or what
            ``genrev.train`` takes, a name, a path, a tensor, an array, a pair with labels, a data
            set. Images are brought to the size and channels of the model's, and a line on standard
            error says so.
        metrics: names of ``METRICS``; ``None`` takes those that suit model and data, but for
            ``likelihood`` and ``classification``.
        n: number of samples drawn, balanced over classes.
        features: what distances are computed in, an extractor or what ``--features`` takes;
            ``None`` takes the classifier's.
        seed: of the samples, the subsets and the projections; each has its own generator.
        batch_size: images per pass through model or extractor; it changes no more than rounding.
            ``None`` takes 100 on the CPU and 1,000 elsewhere. What does not fit is halved.
        classifier: judge of ``accuracy`` and default features; ``None`` takes that of the data.
        split: which split ``data`` is, or which of a name or path is taken, by default test.
            ``all`` has the training images among its own.
        train: the images the model was trained on, which ``memorisation`` needs, with ``data``
            held out then, and a classifier that has to be trained; by default the split train of
            a name or path.
        references: use so many images of ``data``, spread evenly over it.

    Returns:
        One JSON-serialisable dictionary per metric, in the order asked for.

    Raises:
        GenrevError: an unknown metric, a model and data that do not fit together, too few images
            or samples, or a result that is not finite.
    """
    refuse_path(model)
    if not is_autoencoder(model):
        raise GenrevError(
            f"A {type(model).__name__} is no model with a prior; give a GenerativeModel, such as "
            "genrev.load and genrev.train return."
        )
    require_images(model.image_shape, "An evaluation takes")
    if isinstance(data, str | Path):
        data, split, train = _loaded(DataConfig(source=str(data)), model, split, train)
    data = as_image_data(data, model.image_shape)
    train = None if train is None else as_image_data(train, model.image_shape, "train")
    if isinstance(features, str | Path):
        features = choose_features(str(features), data, device_of(model))
    size = batch_size_on(device_of(model), BATCH_SIZE) if batch_size is None else batch_size
    run = EvaluationRun(model, data, n, features, seed, size, classifier, split, train, references)
    return measure(run, metrics)


def _loaded(
    config: DataConfig, model: GenerativeAutoencoder, split: str | None, train: Any
) -> tuple[ImageData, str, Any]:
    """A split, which it is, and ``train``, or else the images of that split if there are any."""
    shape = tuple(model.image_shape)
    data, split = load_held_out(config, split, shape)
    if train is None:
        with suppress(GenrevError):
            train, _ = load_held_out(config, "train", shape, told=True)
    return data, split, train


def measure(run: EvaluationRun, metrics: Iterable[str] | None) -> dict[str, Numbers]:
    """``evaluate`` of what is in a run."""
    results = {}
    chosen = _chosen(metrics, run)
    with Bar("measuring", len(chosen), "metrics", delay=0) as bar, tf32(False):
        for name, metric in chosen.items():
            bar.set_postfix_str(name)
            numbers = metric.measure(run)
            told = run.provenance(run.n if metric.sampled else 0)
            results[name] = numbers | told | numbers  # its own numbers first, and over what is told
            bar.update()
    for name, result in results.items():
        if not is_finite(result):
            raise GenrevError(
                f"The metric {name} is not finite; the model's training has diverged, so "
                "evaluate an earlier checkpoint or train with a smaller learning rate."
            )
    return results


def require_metrics(asked: Iterable[str] | None) -> list[str]:
    """The names of metrics, all of them by default, each once; ``GenrevError`` for other names."""
    asked = [asked] if isinstance(asked, str) else asked
    names = list(dict.fromkeys(METRICS if asked is None else asked))
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise GenrevError(
            f"There is no metric {', '.join(unknown)!r}; choose from {', '.join(METRICS)}."
        )
    return names


def _chosen(asked: Iterable[str] | None, run: EvaluationRun) -> dict[str, Metric]:
    names = require_metrics(asked)
    model, data, n = run.model, run.data, run.n
    if data.image_shape != tuple(model.image_shape):
        raise GenrevError(
            f"The model makes images of shape {tuple(model.image_shape)} and those of {data.name} "
            f"have {data.image_shape}; evaluate on the data the model was trained on."
        )
    fewest = max(_FEWEST, num_classes_of(model))
    if min(n, len(data)) < fewest:
        raise GenrevError(
            f"{counted(n, 'sample')} against {counted(len(data), 'image')} of {data.name} are too "
            f"few to evaluate this model; use at least {fewest} of both."
        )
    metrics = {name: METRICS[name]() for name in names}
    if asked is None:
        usual = {name: metric for name, metric in metrics.items() if metric.is_usual(run)}
        if left := [name for name in _BY_FEATURES if name in metrics and name not in usual]:
            why = f"{data.name} has no labels to train a classifier on; name features (--features)"
            print(f"Left out are {', '.join(left)}: {why}.", file=sys.stderr)
        metrics = usual
    for metric in metrics.values():
        if refusal := metric.refusal(run):
            raise GenrevError(refusal)
    return metrics


def is_finite(value: object) -> bool:
    """Whether all numbers in nested lists and dictionaries are finite."""
    if isinstance(value, dict | list):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def format_report(result: dict[str, Numbers]) -> str:
    """Results of ``evaluate`` as aligned lines: every number, and what it was measured on.

    Example:
        >>> provenance = {"samples": 100, "reference": "digits", "reference_count": 297,
        ...               "reference_split": "test", "features": "fid768",
        ...               "features_sha256": "c0ffee" * 10, "seed": 0}
        >>> print(format_report({"frechet": {"distance": 12.345, **provenance}}))
        Fréchet distance, fid768  12.345
          100 samples against 297 images of digits (test), features fid768 (c0ffeec0), seed 0
    """
    blocks = {name: list(METRICS[name]().lines(values)) for name, values in result.items()}
    width = max((len(label) for lines in blocks.values() for label, _ in lines), default=0)
    text: list[str] = []
    for name, lines in blocks.items():
        text += [f"{label:<{width}}  {value}" for label, value in lines]
        text.append(f"  {_provenance(result[name])}")
    return "\n".join(text)


def told_reference(values: Numbers) -> str:
    """The reference of a result, e.g. ``297 images of digits (test)``."""
    split = f" ({values['reference_split']})" if values["reference_split"] else ""
    return f"{counted(values['reference_count'], 'image')} of {values['reference']}{split}"


def told_features(name: str, sha256: str) -> str:
    """An extractor as results name it, e.g. ``features fid768 (c0ffeec0)``."""
    return f"features {name} ({sha256[:8]})"


def _provenance(values: Numbers) -> str:
    samples, count = values["samples"], values["reference_count"]
    sets = [counted(samples, "sample")] if samples or not count else []
    parts = [" against ".join([*sets, told_reference(values)] if count else sets)]
    if values["features"]:
        parts.append(told_features(values["features"], values["features_sha256"]))
    return ", ".join([*parts, f"seed {values['seed']}"])
