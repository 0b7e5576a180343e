"""What a metric is, and what all metrics of one evaluation share.

A metric is one class: what it needs, how it is measured, and how its numbers are printed. The guide
to extending genrev has an example of one of your own (``genrev evaluate RUN --plugin FILE``).
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.features.classifier import Classifier, ClassifierFeatures
from genrev.evaluation.features.extractors import FeatureExtractor
from genrev.evaluation.features.reference import (
    evenly_spread,
    features_in_batches,
    reference_features,
)
from genrev.evaluation.features.training import classifier_of_split
from genrev.models.checks import num_classes_of, require_images
from genrev.models.devices import float64_device
from genrev.models.inference import GenerativeAutoencoder, device_of, inference
from genrev.progress import Bar
from genrev.registry import Registry

_SAMPLES_AT_ONCE = 250

Numbers: TypeAlias = dict[str, Any]  #: By name, of plain types that JSON knows; None: undefined.
Lines: TypeAlias = Iterator[tuple[str, str]]  #: What is printed, each line as a label and a text.


@dataclass
class EvaluationRun:
    """What the metrics of one evaluation share, computed when it is first asked for.

    Arguments are those of ``genrev.evaluation.evaluate``; ``whole`` is its ``data``.
    """

    model: GenerativeAutoencoder
    whole: ImageData
    n: int = 10_000
    given_features: FeatureExtractor | None = None
    seed: int = 0
    batch_size: int = 100
    given_classifier: Classifier | None = None
    split: str | None = None
    train: ImageData | None = None
    references: int | None = None

    @cached_property
    def data(self) -> ImageData:
        """All images of the split, or as many as ``references`` says."""
        if self.references is None:
            return self.whole
        if self.references < 1:
            raise GenrevError(f"--references must be 1 or more and is {self.references}.")
        return evenly_spread(self.whole, self.references)

    @property
    def held_out(self) -> bool:
        """Whether the reference are images that are known not to have been trained on."""
        return self.train is not None and self.split != "all" and not self._is_trained_on

    @property
    def _is_trained_on(self) -> bool:
        return self.train is not None and self.train.fingerprint == self.whole.fingerprint

    @property
    def float64_device(self) -> torch.device:
        """Where features are compared, with the model or on the CPU where that has no float64."""
        return float64_device(device_of(self.model))

    @cached_property
    def classifier(self) -> Classifier:
        """The one given, or that of the data, which may be trained for it, where the model is."""
        given, device = self.given_classifier, device_of(self.model)
        if given is None:
            return classifier_of_split(self.whole, self.train, self.split, device)
        return given if given.device == device else copy.deepcopy(given).to(device)

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """What features are computed by; a ``GenrevError`` where there is nothing."""
        if refusal := self.needs_features():
            raise GenrevError(refusal)
        return self.given_features or ClassifierFeatures(self.classifier)

    def needs_features(self) -> str | None:
        """The refusal of what needs features; ``None`` where there are any."""
        if self.given_features or self.given_classifier or self.whole.num_classes > 1:
            return None
        return (
            f"The data {self.whole.name} has no labels, so there is no classifier to take "
            "features from; give a TorchScript feature extractor with --features FILE."
        )

    @cached_property
    def drawn(self) -> tuple[Tensor, Tensor | None]:
        """What ``samples_as_stored`` gives."""
        return samples_as_stored(self.model, self.n, self.seed)

    @cached_property
    def fake_features(self) -> Tensor:
        """Features of the samples, float32 (n, D)."""
        found = features_in_batches(
            self.extractor, self.drawn[0], self.batch_size, "features of samples"
        )
        return torch.cat([*found])

    @cached_property
    def real_features(self) -> Tensor:
        """Features of the reference, float32 (N, D), kept on disk for the next evaluation."""
        return reference_features(self.data, self.extractor, self.batch_size)

    def provenance(
        self,
        samples: int = 0,
        reference_count: int | None = None,
        extractor: FeatureExtractor | None = None,
    ) -> Numbers:
        """What a number was measured on: so many samples against so many reference images."""
        # Data without splits serves as every split: these are the training images then.
        every = self._is_trained_on and self.split not in (None, "train")
        return {
            "samples": samples,
            "reference": self.whole.name,
            "reference_split": "all images" if every else self.split,
            "reference_count": len(self.data) if reference_count is None else reference_count,
            "reference_fingerprint": self.data.fingerprint,
            "features": extractor.name if extractor else None,
            "features_sha256": extractor.sha256 if extractor else None,
            "resize": extractor.resize if extractor else "none",
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Column:
    """A column of the table of ``genrev compare``."""

    key: str  #: Which of the metric's numbers it shows; no other metric has one of this name.
    heading: str  #: Above the column; ``{features}`` in it becomes the name of the features.
    digits: str = ".3f"  #: Format of the numbers.
    half_digits: str | None = None  #: Of half the width of the interval; by default ``digits``.
    csv: str | None = None  #: Name of the column in compare.csv; by default ``key``.

    def show(self, entry: Any) -> str:
        """The cell: of metrics of samples a ``mean_and_interval``, e.g. ``0.31 ± 0.02``."""
        if not isinstance(entry, dict):
            return format(entry, self.digits)
        mean, half = format(entry["mean"], self.digits), entry["half_width"]
        return mean if half is None else f"{mean} ± {format(half, self.half_digits or self.digits)}"


class Metric(ABC):
    """One way to measure a model. Instances keep nothing.

    ``genrev evaluate`` measures all metrics whose ``is_usual`` says so, or those of ``--metrics``;
    ``genrev compare`` measures those that have ``columns``.
    """

    sampled: ClassVar[bool] = False  #: Whether it depends on samples, so that seeds are compared.
    of_features: ClassVar[bool] = False  #: Whether it needs something to take features from.
    on_request: ClassVar[bool] = False  #: Whether it is measured only where the user names it.
    columns: ClassVar[tuple[Column, ...]] = ()  #: In the table of ``genrev compare``.
    note: ClassVar[str] = ""  #: What the columns mean, as half a sentence without a full stop.

    def refusal(self, run: EvaluationRun) -> str | None:
        """Why this cannot be measured, at a glance: a sentence with a cure, or ``None``."""
        return run.needs_features() if self.of_features else None

    def is_usual(self, run: EvaluationRun) -> bool:
        """Whether it is measured where the user names no metrics: by default, where it can be."""
        return not self.on_request and self.refusal(run) is None

    @abstractmethod
    def measure(self, run: EvaluationRun) -> Numbers:
        """The numbers.

        What is missing of ``run.provenance(...)`` is added: all samples against all reference
        images where ``sampled``, else reference images only, and no features.
        """

    @abstractmethod
    def lines(self, values: Numbers) -> Lines:
        """What to print of what ``measure`` returned."""


_OWN = {
    "inversion": "inversion:Inversion",
    "reconstruction": "inversion:Reconstruction",
    "latent": "latent:Latent",
    "frechet": "distances:Frechet",
    "kid": "distances:KernelDistance",
    "prdc": "prdc:PrecisionRecall",
    "accuracy": "accuracy:Accuracy",
    "memorisation": "memorisation:Memorisation",
    "likelihood": "likelihood:Likelihood",
    "classification": "accuracy:Classification",
}
METRICS: Registry[type[Metric]] = Registry(
    "metric", {name: f"genrev.evaluation.metrics.{place}" for name, place in _OWN.items()}, Metric
)
"""The metrics by name, in the order in which they are measured."""


def samples_as_stored(
    model: GenerativeAutoencoder, n: int, seed: int, label: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """Draw n samples, of one class or balanced over all, in bytes as an image file has them.

    They are drawn 250 at a time from a CPU generator, so that a seed always stands for the same.

    Returns:
        Samples, uint8 (n, C, H, W), ordered by class (the first ``n % num_classes`` get one more),
        and their classes, int64 (n,), or None for a prior of one class. Both on the CPU.

    Raises:
        GenrevError: a sample is not finite, or the model does not generate images.
    """
    require_images(model.image_shape, "Samples are measured of")
    generator = torch.Generator().manual_seed(seed)
    classes = num_classes_of(model)
    counts = [n // classes + (number < n % classes) for number in range(classes)]
    if label is not None:
        counts = [n if number == label else 0 for number in range(classes)]
    drawn: list[Tensor] = []
    with inference(model), Bar("samples", n) as bar:
        for number, count in enumerate(counts):
            for start in range(0, count, _SAMPLES_AT_ONCE):
                some = min(_SAMPLES_AT_ONCE, count - start)
                images = model.sample(some, number if classes > 1 else None, generator)
                if not images.isfinite().all():
                    raise GenrevError(
                        "The model draws samples with values that are not finite; its training has "
                        "diverged, so evaluate an earlier checkpoint or train with a smaller "
                        "learning rate."
                    )
                drawn.append((images * 255).round().clamp(0, 255).to("cpu", torch.uint8))
                bar.update(some)
    labels = torch.arange(classes).repeat_interleave(torch.tensor(counts))
    return torch.cat(drawn), labels if classes > 1 else None
