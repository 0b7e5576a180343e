"""All metrics of one model on one data set, each number with what it was measured on.

Every metric's dictionary repeats the number of samples and of reference images, the reference,
the features with their SHA-256, how images were resized, and the seed: a number that travels
without them cannot be compared with another. Samples are measured as the 8-bit image files they
would be stored in.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from genrev.data import ImageData
from genrev.data.images import shown_classes
from genrev.errors import GenrevError
from genrev.evaluation.batches import evenly_spread, spread_indices
from genrev.evaluation.classification import classification_report
from genrev.evaluation.classifier import Classifier, ClassifierFeatures
from genrev.evaluation.classifier_store import classifier_for
from genrev.evaluation.features import FeatureExtractor
from genrev.evaluation.frechet import FeatureStatistics, frechet_distance
from genrev.evaluation.inversion import inversion_report
from genrev.evaluation.kid import kernel_distance
from genrev.evaluation.latent import latent_report
from genrev.evaluation.likelihood import likelihood_report
from genrev.evaluation.memorisation import copying
from genrev.evaluation.nearest import nearest, nearest_images
from genrev.evaluation.prdc import precision_recall
from genrev.evaluation.reconstruction import reconstruction_report
from genrev.evaluation.reference import reference_features
from genrev.evaluation.samples import samples_as_stored
from genrev.models.classes import class_names_of
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["METRICS", "evaluate"]

FEWEST = 10
KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 100, 1000
NEIGHBOURS = 5
COPIES_SOUGHT = 2000  # samples, and held-out images, whose nearest training image is sought


def evaluate(
    model: GenerativeAutoencoder,
    data: ImageData,
    metrics: Iterable[str] = ("inversion", "reconstruction", "latent", "frechet", "kid", "prdc"),
    n: int = 10_000,
    features: FeatureExtractor | None = None,
    seed: int = 0,
    batch_size: int = 100,
    classifier: Classifier | None = None,
    split: str | None = None,
    train: ImageData | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure a model.

    Args:
        model: the model; afterwards it is in the mode it was in before.
        data: the reference, all of whose images are used (by ``prdc`` at most ``n``, chosen at
            random, since it compares fairly only at equal numbers).
        metrics: any of ``METRICS``.
        n: number of samples drawn, balanced over classes.
        features: what distances are computed in; ``None`` takes the classifier's.
        seed: seed of the samples, the subsets and the projections; each has its own generator.
        batch_size: images per pass through model or extractor; no result depends on it beyond
            rounding.
        classifier: judge of ``accuracy`` and default features; ``None`` asks ``classifier_for``,
            which may train one.
        split: which split ``data`` is; repeated in the results, nothing else.
        train: the images the model was trained on, which ``memorisation`` needs; ``data`` are
            images held out then.

    Returns:
        One JSON-serialisable dictionary per metric, in the order asked for.

    Raises:
        GenrevError: an unknown metric, a model and data that do not fit together, too few images
            or samples, or a result that is not finite.
    """
    names = list(dict.fromkeys(metrics))
    _check(model, data, names, n)
    run = _Run(model, data, n, features, seed, batch_size, classifier, split, train)
    results = {name: METRICS[name](run) for name in names}
    for name, result in results.items():
        if not _finite(result):
            raise GenrevError(
                f"the metric {name} is not finite; the model's training has diverged, so "
                "evaluate an earlier checkpoint or train with a smaller learning rate"
            )
    return results


def _check(model: GenerativeAutoencoder, data: ImageData, names: list[str], n: int) -> None:
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise GenrevError(f"there is no metric {unknown[0]!r}; choose from {', '.join(METRICS)}")
    if data.image_shape != tuple(model.image_shape):
        raise GenrevError(
            f"the model makes images of shape {tuple(model.image_shape)} and those of {data.name} "
            f"have {data.image_shape}; evaluate on the data the model was trained on"
        )
    fewest = max(FEWEST, model.prior.num_classes)
    if min(n, len(data)) < fewest:
        raise GenrevError(
            f"{n} samples against {len(data)} images of {data.name} are too few to "
            f"evaluate this model; use at least {fewest} of both"
        )


@dataclass
class _Run:
    """What several metrics share, computed when first asked for."""

    model: GenerativeAutoencoder
    data: ImageData
    n: int
    given_features: FeatureExtractor | None
    seed: int
    batch_size: int
    given_classifier: Classifier | None
    split: str | None
    train: ImageData | None

    @cached_property
    def classifier(self) -> Classifier:
        return self.given_classifier or classifier_for(self.data)

    @cached_property
    def extractor(self) -> FeatureExtractor:
        if self.given_features is not None:
            return self.given_features
        if not self.has_features:
            raise GenrevError(
                f"the data {self.data.name} has no labels, so there is no classifier to take "
                "features from; give a TorchScript feature extractor with --features FILE"
            )
        return ClassifierFeatures(self.classifier)

    @property
    def has_features(self) -> bool:
        given = self.given_features is not None or self.given_classifier is not None
        return given or self.data.num_classes > 1

    @cached_property
    def drawn(self) -> tuple[Tensor, Tensor | None]:
        return samples_as_stored(self.model, self.n, self.seed)

    @cached_property
    def fake_features(self) -> Tensor:
        samples, _ = self.drawn
        parts = tqdm(
            samples.split(self.batch_size), desc="features of samples", disable=None, leave=False
        )
        return torch.cat([self.extractor(part) for part in parts])

    @cached_property
    def real_features(self) -> Tensor:
        return reference_features(self.data, self.extractor, self.batch_size)

    def provenance(
        self,
        samples: int,
        reference_count: int,
        extractor: FeatureExtractor | None = None,
    ) -> dict[str, Any]:
        """What a number was measured on."""
        return {
            "samples": samples,
            "reference": self.data.name,
            "reference_split": self.split,
            "reference_count": reference_count,
            "reference_fingerprint": self.data.fingerprint,
            "features": extractor.name if extractor else None,
            "features_sha256": extractor.sha256 if extractor else None,
            "resize": extractor.resize if extractor else "none",
            "seed": self.seed,
        }


def _inversion(run: _Run) -> dict[str, Any]:
    report = inversion_report(run.model, run.data, run.batch_size)
    return {**report, **run.provenance(0, len(run.data))}


def _reconstruction(run: _Run) -> dict[str, Any]:
    report = reconstruction_report(run.model, run.data, run.batch_size)
    return {**report, **run.provenance(0, len(run.data))}


def _latent(run: _Run) -> dict[str, Any]:
    report = latent_report(run.model, run.data, run.batch_size, run.seed)
    # As many prior samples as there are encodings, but none of them is decoded.
    return {**report, **run.provenance(0, len(run.data))}


def _frechet(run: _Run) -> dict[str, Any]:
    real, fake = FeatureStatistics.of(run.real_features), FeatureStatistics.of(run.fake_features)
    distance = frechet_distance(real.mean, real.covariance, fake.mean, fake.covariance)
    return {"distance": distance, **run.provenance(run.n, real.count, run.extractor)}


def _kid(run: _Run) -> dict[str, Any]:
    real, fake = run.real_features, run.fake_features
    size = min(KERNEL_SUBSET_SIZE, min(len(real), len(fake)) // 2)
    generator = torch.Generator().manual_seed(run.seed)
    estimate, error = kernel_distance(real, fake, KERNEL_SUBSETS, size, generator)
    return {
        "estimate": estimate,
        "standard_error": error,
        "subsets": KERNEL_SUBSETS,
        "subset_size": size,
        **run.provenance(run.n, len(real), run.extractor),
    }


def _prdc(run: _Run) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(run.seed)
    chosen = torch.randperm(len(run.real_features), generator=generator)[: run.n]
    shares = precision_recall(run.real_features[chosen], run.fake_features, NEIGHBOURS)
    return {**shares, "k": NEIGHBOURS, **run.provenance(run.n, len(chosen), run.extractor)}


def _accuracy(run: _Run) -> dict[str, Any]:
    if run.model.prior.num_classes < 2:
        raise GenrevError(
            "accuracy needs a model and data with the same classes, and this model has none; "
            "leave the metric out"
        )
    known = run.classifier.info
    judged = known.class_names if known else run.data.class_names
    names = class_names_of(run.model) or judged
    if not set(names) <= set(judged) or len(names) != run.model.prior.num_classes:
        raise GenrevError(
            f"accuracy needs a model and data with the same classes, and the model has "
            f"{shown_classes(names)} and {run.data.name} {shown_classes(judged)}; leave the metric "
            "out"
        )
    samples, labels = run.drawn
    assert labels is not None  # the prior has classes
    # The classifier and the model may number the classes differently.
    number = torch.tensor([names.index(name) if name in names else -1 for name in judged])
    hits = number[run.classifier.predict(samples)] == labels  # (n,)
    classes = {
        name: float(hits[labels == label].double().mean()) for label, name in enumerate(names)
    }
    return {
        "accuracy": float(hits.double().mean()),
        "classes": classes,
        "classifier_test_accuracy": known.accuracy if known else None,
        **run.provenance(run.n, 0, ClassifierFeatures(run.classifier)),
    }


def _memorisation(run: _Run) -> dict[str, Any]:
    """In pixels against all training images, in features against at most as many as samples."""
    train, samples = run.train, run.drawn[0]
    if train is None or train.fingerprint == run.data.fingerprint:
        raise GenrevError(
            f"memorisation compares the distances from the training images of samples and of "
            f"images held out, and of {run.data.name} none are held out; leave the metric out"
        )
    mine = spread_indices(len(samples), COPIES_SOUGHT)
    held_out = evenly_spread(run.data, COPIES_SOUGHT)
    pixels = [nearest_images(s, train)[0] for s in (samples[mine], torch.tensor(held_out.images))]
    result: dict[str, Any] = {"pixel_space": {**copying(*pixels), "train_count": len(train)}}
    if run.has_features:
        some = evenly_spread(train, run.n)
        known = reference_features(some, run.extractor, run.batch_size).split(COPIES_SOUGHT)
        others = run.real_features[spread_indices(len(run.data), COPIES_SOUGHT)]
        distances = [nearest(part, known)[0] for part in (run.fake_features[mine], others)]
        result["feature_space"] = {**copying(*distances), "train_count": len(some)}
    return {
        **result,
        "train_fingerprint": train.fingerprint,
        **run.provenance(len(mine), len(held_out), run.extractor if run.has_features else None),
    }


def _likelihood(run: _Run) -> dict[str, Any]:
    report = likelihood_report(run.model, run.data, run.batch_size, run.seed)
    return {**report, **run.provenance(0, len(run.data))}


def _classification(run: _Run) -> dict[str, Any]:
    report = classification_report(run.model, run.data, run.batch_size)
    return {**report, **run.provenance(0, len(run.data))}


METRICS: dict[str, Callable[[_Run], dict[str, Any]]] = {
    "inversion": _inversion,
    "reconstruction": _reconstruction,
    "latent": _latent,
    "frechet": _frechet,
    "kid": _kid,
    "prdc": _prdc,
    "accuracy": _accuracy,
    "memorisation": _memorisation,
    "likelihood": _likelihood,
    "classification": _classification,
}
"""Names of the metrics, and how each is measured."""


def _finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(_finite(entry) for entry in value.values())
    if isinstance(value, list):
        return all(_finite(entry) for entry in value)
    return not isinstance(value, float) or math.isfinite(value)
