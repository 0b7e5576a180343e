"""Features of reference images, and their mean and covariance, computed once and kept on disk.

An Inception network sees a few images a second on a processor core, and the reference is the same
for every model. Features depend on pixels and extractor only, so they are found again by the
fingerprints of the two, below ``$GENREV_CACHE/features/`` (``~/.cache/genrev/features/`` when it
is unset). A file is written whole or not at all; a damaged one is computed again.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from genrev.data import ImageData
from genrev.evaluation.batches import batches
from genrev.evaluation.features import FeatureExtractor
from genrev.evaluation.frechet import FeatureStatistics
from genrev.files.cache import cache_folder
from genrev.files.writing import replacing

__all__ = ["features_of", "reference_features", "reference_statistics"]

_BATCH = 100
_TENSORS = {"features": ("features",), "statistics": ("mean", "covariance")}


def reference_features(
    data: ImageData, extractor: FeatureExtractor, batch_size: int = _BATCH
) -> Tensor:
    """Features of all images, float32 of shape (N, D) on the CPU."""

    def compute() -> dict[str, Tensor]:
        return {"features": torch.cat(list(features_of(data, extractor, batch_size)))}

    return _cached("features", data, extractor, compute)["features"]


def reference_statistics(data: ImageData, extractor: FeatureExtractor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of the features of all images, in float64 on the CPU.

    Unlike ``reference_features`` this never holds the features of all images at once.
    """

    def compute() -> dict[str, Tensor]:
        known = _read("features", data, extractor)
        parts = [known["features"]] if known else features_of(data, extractor, _BATCH)
        statistics = FeatureStatistics(extractor.dim)
        for part in parts:
            statistics.update(part)
        return {"mean": statistics.mean, "covariance": statistics.covariance}

    tensors = _cached("statistics", data, extractor, compute)
    return tensors["mean"], tensors["covariance"]


def features_of(
    data: ImageData, extractor: FeatureExtractor, batch_size: int = _BATCH
) -> Iterator[Tensor]:
    """Features of all images, batch by batch, with a progress bar; nothing is kept."""
    parts = list(batches(data, batch_size))
    for part in tqdm(parts, desc=f"features of {data.name}", disable=None, leave=False):
        yield extractor(torch.from_numpy(np.array(data.images[part])))


def _cached(
    kind: str,
    data: ImageData,
    extractor: FeatureExtractor,
    compute: Callable[[], dict[str, Tensor]],
) -> dict[str, Tensor]:
    known = _read(kind, data, extractor)
    if known is not None:
        return known
    tensors = compute()
    _keep(_path(kind, data, extractor), tensors)
    return tensors


def _path(kind: str, data: ImageData, extractor: FeatureExtractor) -> Path:
    name = f"{data.fingerprint[:24]}-{extractor.sha256[:24]}-{kind}.safetensors"
    return cache_folder("features") / name


def _read(kind: str, data: ImageData, extractor: FeatureExtractor) -> dict[str, Tensor] | None:
    """What is kept, if it is there, whole and of the right shapes."""
    try:
        tensors = load_file(_path(kind, data, extractor))
    except (OSError, SafetensorError):
        return None
    n, dim = len(data), extractor.dim
    shapes = {"features": (n, dim), "mean": (dim,), "covariance": (dim, dim)}
    expected = {name: shapes[name] for name in _TENSORS[kind]}
    return tensors if {k: tuple(t.shape) for k, t in tensors.items()} == expected else None


def _keep(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file(tensors, temporary)
    except (OSError, SafetensorError) as error:
        warnings.warn(
            f"features of the reference images could not be kept in {path.parent} ({error}) and "
            "will be computed again; set GENREV_CACHE to a folder that can be written",
            stacklevel=2,
        )
