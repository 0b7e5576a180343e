"""The Fréchet distance through training: the learning curve of Figure 10, and its best model.

Samples are measured against all training images. The absolute value depends on features and number
of samples; within one run, and between runs of equal settings, the numbers compare.
"""

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from genrev import evaluation
from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.models import GenerativeModel, save
from genrev.models.saving import model_info
from genrev.training.config import TrainerOptions
from genrev.training.reports.measurements import PeriodicMeasurement
from genrev.training.run.folder import RunFolder

_BATCH = 100


class FrechetCurve(PeriodicMeasurement):
    """Measure ``frechet``, always from the same noise; ``keep_best`` keeps the best model."""

    def __init__(self, config: TrainerOptions, folder: RunFolder) -> None:
        super().__init__("frechet", config.frechet_every, self.distance)
        self.config = config
        self.describe: Callable[[], dict[str, Any]] = dict  # what is kept with the best model
        self.best = folder.best if config.keep_best else None
        # A resumed run goes on from what it kept before.
        kept = model_info(folder.best).get("frechet") if folder.best.is_dir() else None
        self.lowest = kept if isinstance(kept, float) else math.inf
        self._extractor: evaluation.FeatureExtractor | None = None
        self._reference: tuple[Tensor, Tensor]

    def prepare(self, data: ImageData, device: torch.device, first: bool) -> None:
        """Load the extractor and measure the training images, on the first rank."""
        if self.every is None or not first:
            return
        if self.config.frechet_features is not None:
            self._extractor = evaluation.TorchScriptFeatures(self.config.frechet_features, device)
        elif data.num_classes > 1:
            self._extractor = evaluation.ClassifierFeatures(evaluation.classifier_for(data))
        else:
            raise GenrevError(
                f"--trainer.frechet_every needs features and {data.name} has no labels to train a "
                "classifier on; give a TorchScript file with --trainer.frechet_features."
            )
        self._extractor(torch.from_numpy(np.array(data.images[:2])))  # fails now or never
        self._reference = evaluation.reference_statistics(data, self._extractor)

    def after(self, trainer: pl.Trainer, model: GenerativeModel) -> None:
        number = self.measured[self.name]
        if trainer.is_global_zero and self.best is not None and number < self.lowest:
            save(model, self.best, {**self.describe(), "frechet": number})
            self.lowest = number

    def distance(self, model: GenerativeModel) -> float:
        """The distance from training images; infinite where samples are not finite."""
        assert self._extractor is not None
        try:
            samples, _ = evaluation.samples_as_stored(model, self.config.frechet_samples, seed=0)
        except GenrevError:  # not finite
            return math.inf
        statistics = evaluation.FeatureStatistics(self._extractor.dim)
        for part in samples.split(_BATCH):
            statistics.update(self._extractor(part))
        return evaluation.frechet_distance(*self._reference, statistics.mean, statistics.covariance)
