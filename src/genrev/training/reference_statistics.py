"""Mean and covariance of a data set's features, computed once and kept in the cache.

They depend on pixels and extractor only, so they are found by the fingerprints of the two:
``$GENREV_CACHE/features/`` (``~/.cache/genrev/features/`` when it is unset).
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from genrev.data import ImageData
from genrev.evaluation import FeatureExtractor, FeatureStatistics
from genrev.evaluation.batches import batches

__all__ = ["reference_statistics"]

_BATCH = 100


def reference_statistics(data: ImageData, extractor: FeatureExtractor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of the features of all images, in float64 on the CPU."""
    path = _folder() / f"{data.fingerprint[:24]}-{extractor.sha256[:24]}.safetensors"
    try:
        stored = load_file(path)
        return stored["mean"], stored["covariance"]
    except (OSError, SafetensorError, KeyError):
        pass  # not there yet, or damaged
    statistics = FeatureStatistics(extractor.dim)
    parts = list(batches(data, _BATCH))
    for part in tqdm(parts, desc=f"features of {data.name}", disable=None, leave=False):
        statistics.update(extractor(torch.from_numpy(np.array(data.images[part]))))
    result = {"mean": statistics.mean, "covariance": statistics.covariance}
    _keep(path, result)
    return result["mean"], result["covariance"]


def _keep(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write all at once; a cache that cannot be written only costs time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial")
        os.close(handle)
        try:
            save_file(tensors, name)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError:
        pass


def _folder() -> Path:
    return Path(os.environ.get("GENREV_CACHE") or "~/.cache/genrev").expanduser() / "features"
