"""The Fréchet distance through training: the learning curve of Figure 10.

Samples of the weights as they are (not of their average, where there is one) against all training
images. The absolute value depends on features and number of samples; within one run, and between
runs of equal settings, the numbers compare.
"""

import math

import numpy as np
import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation import (
    ClassifierFeatures,
    FeatureExtractor,
    FeatureStatistics,
    TorchScriptFeatures,
    classifier_for,
    frechet_distance,
    reference_statistics,
    samples_as_stored,
)
from genrev.models import GenerativeModule
from genrev.training.config import TrainerConfig
from genrev.training.periodic import PeriodicMeasurement

__all__ = ["FrechetCurve"]

_BATCH = 100


class FrechetCurve(PeriodicMeasurement):
    """Measure ``frechet`` after every so many steps, always from the same noise.

    It is logged to the loggers and to ``metrics.csv``. The first rank measures while the others
    wait. Samples that are not finite are infinitely far away.

    Args:
        config: how often, on how many samples, in which features.
    """

    def __init__(self, config: TrainerConfig) -> None:
        super().__init__("frechet", config.frechet_every)
        self.samples = config.frechet_samples
        self.features = config.frechet_features
        self._extractor: FeatureExtractor | None = None
        self._reference: tuple[Tensor, Tensor] | None = None

    def prepare(self, data: ImageData, device: torch.device, first: bool) -> None:
        """Load the extractor and measure the training images.

        Args:
            data: the training images.
            device: where an extractor from a file computes.
            first: whether this is the first rank; the others only hear of the results.

        Raises:
            GenrevError: an extractor that cannot be used on these images, or data without labels
                and no extractor.
        """
        if self.every is None or not first:
            return
        extractor = self._open(data, device)
        extractor(torch.from_numpy(np.array(data.images[:2])))  # fails now or never
        self._extractor = extractor
        self._reference = reference_statistics(data, extractor)

    def _open(self, data: ImageData, device: torch.device) -> FeatureExtractor:
        if self.features is not None:
            return TorchScriptFeatures(self.features, device)
        if data.num_classes < 2:
            raise GenrevError(
                f"--trainer.frechet_every needs features and {data.name} has no labels to train a "
                "classifier on; give a TorchScript file with --trainer.frechet_features."
            )
        return ClassifierFeatures(classifier_for(data))

    def number(self, model: GenerativeModule) -> float:
        """The distance from training images; infinite where samples are not finite."""
        assert self._extractor is not None
        assert self._reference is not None
        try:
            samples, _ = samples_as_stored(model, self.samples, seed=0)
        except GenrevError:  # not finite
            return math.inf
        statistics = FeatureStatistics(self._extractor.dim)
        for part in samples.split(_BATCH):
            statistics.update(self._extractor(part))
        return frechet_distance(*self._reference, statistics.mean, statistics.covariance)
