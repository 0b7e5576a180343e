"""Several models through one evaluator: the numbers of the paper's Table 1, with intervals.

All models are measured against the same images in the same features. What depends on samples is
measured with several seeds, and the mean comes with a 95 % confidence interval by Student's t.
The interval says how far other samples of the *same trained model* would move the number; it says
nothing about training the model again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student
from torch import nn
from tqdm import tqdm

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.classifier import Classifier
from genrev.evaluation.evaluate import evaluate
from genrev.evaluation.features import FeatureExtractor
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["compare_models", "mean_and_interval"]

LEVEL = 0.95
_SAMPLED = {
    "frechet": ("distance",),
    "kid": ("estimate",),
    "prdc": ("precision", "recall", "density", "coverage"),
}


def mean_and_interval(values: Sequence[float]) -> dict[str, Any]:
    """Mean, half width of its 95 % confidence interval, and the values themselves.

    The half width is None for a single value.

    Example:
        >>> result = mean_and_interval([1.0, 2.0, 3.0])
        >>> result["mean"], round(result["half_width"], 3)  # 4.303 / √3
        (2.0, 2.484)
    """
    n = len(values)
    half = None
    if n > 1:
        error = float(np.std(values, ddof=1)) / n**0.5
        half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * error
    return {"mean": float(np.mean(values)), "half_width": half, "values": list(values)}


def compare_models(
    models: Mapping[str, GenerativeAutoencoder],
    data: ImageData,
    n: int = 10_000,
    features: FeatureExtractor | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    classifier: Classifier | None = None,
    split: str | None = None,
) -> dict[str, Any]:
    """Measure several models alike.

    Args:
        models: by the names they get in the table.
        data: the reference; see ``evaluate``.
        n: number of samples per model and seed.
        features: what distances are computed in; ``None`` takes the classifier's.
        seeds: seeds of the samples.
        classifier: see ``evaluate``.
        split: which split ``data`` is; repeated in the results.

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
            f"models of different image shapes cannot be compared ({told}); choose runs of one size"
        )
    rows, measured = [], {}
    bar = tqdm(total=len(models) * (len(seeds) + 1), desc="comparison", disable=None, leave=False)
    with bar:
        for name, model in models.items():
            bar.set_postfix_str(name)
            report = evaluate(model, data, ["reconstruction"], n, split=split)
            bar.update()
            values: dict[str, list[float]] = {key: [] for keys in _SAMPLED.values() for key in keys}
            for seed in seeds:
                measured = evaluate(
                    model, data, _SAMPLED, n, features, seed, classifier=classifier, split=split
                )
                for metric, keys in _SAMPLED.items():
                    for key in keys:
                        values[key].append(measured[metric][key])
                bar.update()
            intervals = {key: mean_and_interval(found) for key, found in values.items()}
            described = {"name": name, "parameters": _parameters(model)}
            rows.append({**described, "reconstruction": _errors(report), **intervals})
    return {"models": rows, "samples": n, "seeds": list(seeds), **_reference(measured["frechet"])}


def _parameters(model: GenerativeAutoencoder) -> int | None:
    """Numbers that training changes, those of a learned prior included."""
    if not isinstance(model, nn.Module):
        return None
    return sum(parameter.numel() for parameter in model.parameters())


def _errors(report: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: report["reconstruction"][name] for name in ("restricted", "full")}


def _reference(frechet: dict[str, Any]) -> dict[str, Any]:
    own = ("distance", "samples", "seed")  # of one model and seed
    return {name: value for name, value in frechet.items() if name not in own}
