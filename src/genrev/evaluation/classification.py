"""How often the most probable class of an image's encoding is its own."""

from typing import Any

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.evaluation.batches import batches
from genrev.models.classes import class_names_of, model_labels
from genrev.models.inference import inference
from genrev.models.protocol import GenerativeAutoencoder
from genrev.objectives import class_log_densities

__all__ = ["classification_report", "classify"]


def classify(model: GenerativeAutoencoder, x: Tensor) -> Tensor:
    """Most probable class of images (N, C, H, W) under the Gaussians of the prior: (N,)."""
    prior = model.prior
    classes = range(prior.num_classes)
    means = prior.restrict(torch.stack([prior.center(c) for c in classes]))  # (K, k)
    stds = prior.restrict(torch.stack([prior.scale(c) for c in classes]))  # (K, k)
    return class_log_densities(prior.restrict(model.encode(x)), means, stds).argmax(1)


def classification_report(
    model: GenerativeAutoencoder, images: ImageData, batch_size: int = 250
) -> dict[str, Any]:
    """Classify all images by their encodings.

    Args:
        model: one with a class-conditional prior.
        images: the data set, of classes that the model knows by name.
        batch_size: images encoded at a time.

    Returns:
        ``classification_accuracy`` over all images, and ``classes``, that of each.

    Raises:
        GenrevError: a model without classes, or data with others.
    """
    if model.prior.num_classes < 2:
        raise GenrevError(
            "Classification needs a model and data with the same classes, and this model has none; "
            "leave it out."
        )
    labels = torch.from_numpy(model_labels(model, images).copy())
    names = class_names_of(model) or images.class_names
    with inference(model) as device:
        parts = [
            classify(model, images.tensor(indices).to(device)).cpu()
            for indices in batches(images, batch_size)
        ]
    hits = (torch.cat(parts) == labels).double()
    classes = {
        name: float(hits[labels == number].mean())
        for number, name in enumerate(names)
        if (labels == number).any()
    }
    return {"classification_accuracy": float(hits.mean()), "classes": classes}
