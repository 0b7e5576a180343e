"""Reference images: in batches, in part, and their features, computed once and kept on disk.

Features depend on pixels and extractor only, so they are found again by the fingerprints of the two
below ``$GENREV_CACHE/features/`` (or ``~/.cache/genrev/features/``); a damaged file is replaced.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from genrev.data import ImageData
from genrev.data.images import fingerprint
from genrev.evaluation.features.extractors import FeatureExtractor
from genrev.files.cache import cache_folder
from genrev.files.writing import replacing
from genrev.models.devices import batch_size_on, in_batches

_BATCH = 100  # on the CPU
_Tensors: TypeAlias = dict[str, Tensor]


def spread_indices(total: int, count: int) -> np.ndarray:
    """``count`` of the numbers 0 to ``total - 1``, evenly spread and ascending; all if too few."""
    return np.linspace(0, total, min(count, total), endpoint=False, dtype=np.int64)


def evenly_spread(data: ImageData, count: int) -> ImageData:
    """``count`` images spread evenly over a data set, the same each time, as a data set."""
    if count >= len(data):
        return data
    chosen = spread_indices(len(data), count)
    images, labels = np.array(data.images[chosen]), data.labels[chosen]
    return ImageData(images, labels, data.class_names, data.name, fingerprint(images, labels))


def features_in_batches(
    extractor: FeatureExtractor,
    images: Tensor | np.ndarray,
    batch_size: int | None = None,
    desc: str = "features",
) -> Iterator[Tensor]:
    """Features (n, D) of uint8 images (N, C, H, W), some at a time, with a bar of that name."""
    if batch_size is None:
        batch_size = batch_size_on(getattr(extractor, "device", torch.device("cpu")), _BATCH)
    yield from in_batches(
        lambda some: extractor(some if isinstance(some, Tensor) else torch.tensor(some)),
        images,
        batch_size,
        desc,
    )


def check_features(real: Tensor, fake: Tensor) -> None:
    """Refuse what are not features (N, D) and (M, D)."""
    if real.dim() != 2 or fake.dim() != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must be (N, D) and (M, D), got {tuple(real.shape)} and {tuple(fake.shape)}."
        )


class FeatureStatistics:
    """Mean and covariance of features that arrive in batches, in float64 on the CPU.

    They are merged by the parallel update of Chan et al. ("Updating formulae and a pairwise
    algorithm for computing sample variances", 1979): nothing cancels, and neither batch size nor
    number of processes changes more than the last digits. ``count`` vectors (D,) have been seen, D
    is ``dim``, and ``mean`` is their mean.

    Example:
        >>> statistics = FeatureStatistics(1)
        >>> statistics.update(torch.tensor([[1.0], [2.0]]))
        >>> statistics.update(torch.tensor([[6.0]]))
        >>> statistics.count, statistics.mean.item(), statistics.covariance.item()
        (3, 3.0, 7.0)
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64)

    @classmethod
    def of(cls, features: Tensor, batch_size: int = 4096) -> "FeatureStatistics":
        """Statistics of features (N, D) that are all there already."""
        statistics = cls(features.shape[1])
        for batch in features.split(batch_size):
            statistics.update(batch)
        return statistics

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance (D, D); a ``ValueError`` of fewer than two feature vectors."""
        if self.count < 2:
            raise ValueError(f"a covariance needs two feature vectors and has {self.count}.")
        return self._scatter / (self.count - 1)

    def update(self, features: Tensor) -> None:
        """Add a batch of features (N, D); an empty one changes nothing."""
        if features.dim() != 2 or features.shape[1] != len(self.mean):
            raise ValueError(
                f"features must have shape (N, {len(self.mean)}), got {tuple(features.shape)}."
            )
        batch = features.detach().to("cpu", torch.float64)
        part = FeatureStatistics(len(self.mean))
        part.count, part.mean = len(batch), batch.mean(0)
        centred = batch - part.mean
        part._scatter = centred.T @ centred
        self.merge(part)

    def merge(self, other: "FeatureStatistics") -> None:
        """Add what ``other`` has seen; ``other`` stays as it is."""
        if not other.count:
            return
        total = self.count + other.count
        shift = other.mean - self.mean
        self.mean = self.mean + shift * (other.count / total)
        between = torch.outer(shift, shift) * (self.count * other.count / total)
        self._scatter = self._scatter + other._scatter + between
        self.count = total


def reference_features(
    data: ImageData,
    extractor: FeatureExtractor,
    batch_size: int | None = None,
    keep: bool = True,
) -> Tensor:
    """Features of all images, float32 (N, D) on the CPU, computed where the extractor is."""
    known = _read("features", data, extractor)
    if known is None:
        known = {"features": torch.cat(list(_features(data, extractor, batch_size)))}
        if keep:
            _keep("features", data, extractor, known)
    return known["features"]


def reference_statistics(data: ImageData, extractor: FeatureExtractor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of these, in float64 on the CPU, a batch at a time."""
    known = _read("statistics", data, extractor)
    if known is None:
        kept, statistics = _read("features", data, extractor), FeatureStatistics(extractor.dim)
        for part in [kept["features"]] if kept else _features(data, extractor):
            statistics.update(part)
        known = {"mean": statistics.mean, "covariance": statistics.covariance}
        _keep("statistics", data, extractor, known)
    return known["mean"], known["covariance"]


def _features(
    data: ImageData, extractor: FeatureExtractor, batch_size: int | None = None
) -> Iterator[Tensor]:
    return features_in_batches(extractor, data.images, batch_size, f"features of {data.name}")


def _keep(kind: str, data: ImageData, extractor: FeatureExtractor, tensors: _Tensors) -> None:
    path = _path(kind, data, extractor)
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


def _path(kind: str, data: ImageData, extractor: FeatureExtractor) -> Path:
    name = f"{data.fingerprint[:24]}-{extractor.sha256[:24]}-{kind}.safetensors"
    return cache_folder("features") / name


def _read(kind: str, data: ImageData, extractor: FeatureExtractor) -> _Tensors | None:
    """What is kept, if it is there, whole and of the right shapes."""
    try:
        tensors = load_file(_path(kind, data, extractor))
    except (OSError, SafetensorError):
        return None
    dim = extractor.dim
    of_statistics = {"mean": (dim,), "covariance": (dim, dim)}
    expected = {"features": (len(data), dim)} if kind == "features" else of_statistics
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return tensors if found == expected else None
