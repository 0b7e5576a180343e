"""Accuracy of samples by a classifier of the data, and of encodings by the prior's own classes."""

import numpy as np
import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.data.images import shown_classes
from genrev.errors import GenrevError
from genrev.evaluation.features.classifier import ClassifierFeatures
from genrev.evaluation.metric import EvaluationRun, Lines, Metric, Numbers
from genrev.models.checks import class_names_of, model_labels, num_classes_of
from genrev.models.conditions import likely_labels, takes_labels
from genrev.models.devices import batch_size_on, in_batches
from genrev.models.inference import GenerativeAutoencoder, inference
from genrev.objectives import class_log_probs


class Accuracy(Metric):
    """The share of samples that the classifier takes for the class they were drawn for."""

    sampled = True

    def refusal(self, run: EvaluationRun) -> str | None:
        classes = num_classes_of(run.model)
        return None if classes > 1 else _lacks_classes("The metric accuracy", "this model has none")

    def is_usual(self, run: EvaluationRun) -> bool:
        train = run.train.class_names if run.train is not None else ()
        names = class_names_of(run.model) or ()
        return super().is_usual(run) and {*names} <= {*run.whole.class_names, *train}

    def measure(self, run: EvaluationRun) -> Numbers:
        known = run.classifier.info
        judged = known.class_names if known else run.data.class_names
        names = class_names_of(run.model) or judged
        if not {*names} <= {*judged} or len(names) != num_classes_of(run.model):
            both = f"{shown_classes(names)} and {run.data.name} {shown_classes(judged)}"
            raise GenrevError(_lacks_classes("The metric accuracy", f"the model has {both}"))
        samples, labels = run.drawn
        assert labels is not None  # the prior has classes
        # The classifier and the model may number the classes differently.
        number = torch.tensor([names.index(name) if name in names else -1 for name in judged])
        hits = number[run.classifier.predict(samples)] == labels  # (n,)
        return {
            "accuracy": float(hits.double().mean()),
            "classes": _by_class(hits, labels, names),
            "classifier_test_accuracy": known.accuracy if known else None,
            **run.provenance(run.n, 0, ClassifierFeatures(run.classifier)),
        }

    def lines(self, values: Numbers) -> Lines:
        yield "accuracy of samples", _with_worst(values["accuracy"], values["classes"])


class Classification(Metric):
    """``classification_report`` of the reference, on request only: most models have no classes."""

    on_request = True

    def refusal(self, run: EvaluationRun) -> str | None:
        try:
            _true_labels(run.model, run.data)
        except GenrevError as error:
            return str(error)
        return None

    def measure(self, run: EvaluationRun) -> Numbers:
        return classification_report(run.model, run.data, run.batch_size)

    def lines(self, values: Numbers) -> Lines:
        share = values["classification_accuracy"]
        yield "accuracy of encodings", _with_worst(share, values["classes"])


def classify(model: GenerativeAutoencoder, x: Tensor) -> Tensor:
    """Most probable class of images (N, C, H, W) under the Gaussians of the prior: (N,).

    For a class-conditional network these are ``likely_labels``.
    """
    prior = model.prior
    if takes_labels(model):
        return likely_labels(model, x)
    classes = range(prior.num_classes)
    means = prior.restrict(torch.stack([prior.center(c) for c in classes]))  # (K, k)
    stds = prior.restrict(torch.stack([prior.scale(c) for c in classes]))  # (K, k)
    return class_log_probs(prior.restrict(model.encode(x)), means, stds).argmax(1)


def classification_report(
    model: GenerativeAutoencoder, images: ImageData, batch_size: int | None = None
) -> Numbers:
    """Classify all images by their encodings.

    Returns:
        ``classification_accuracy`` over all images, and ``classes``, that of each.

    Raises:
        GenrevError: a model without classes, or data with others.
    """
    labels = torch.from_numpy(_true_labels(model, images).copy())
    with inference(model) as device:
        size = batch_size_on(device, 250) if batch_size is None else batch_size
        found = in_batches(
            lambda indices: classify(model, images.tensor(indices).to(device)).cpu(),
            range(len(images)),
            size,
            "classification",
        )
        hits = torch.cat([*found]) == labels
    classes = _by_class(hits, labels, class_names_of(model) or images.class_names)
    return {"classification_accuracy": float(hits.double().mean()), "classes": classes}


def _true_labels(model: GenerativeAutoencoder, images: ImageData) -> np.ndarray:
    """Classes (N,) of images by the numbers that the model has; ``GenrevError`` without any."""
    if num_classes_of(model) < 2:
        raise GenrevError(_lacks_classes("Classification", "this model has none"))
    return model_labels(model, images)


def _lacks_classes(what: str, reason: str) -> str:
    return f"{what} needs a model and data with the same classes, and {reason}; leave it out."


def _by_class(hits: Tensor, labels: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    """Share of hits (N,) among the labels (N,) of every class that there is any of."""
    return {
        name: float(hits[labels == number].double().mean())
        for number, name in enumerate(names)
        if (labels == number).any()
    }


def _with_worst(share: float, classes: dict[str, float]) -> str:
    worst = min(classes, key=classes.__getitem__)
    return f"{share:.1%}; worst class {worst}: {classes[worst]:.1%}"
