"""Classes go by name wherever a model meets data: their numbers depend on the other classes."""

from typing import TYPE_CHECKING

import numpy as np

from genrev.errors import GenrevError
from genrev.models.protocol import GenerativeAutoencoder

if TYPE_CHECKING:
    from genrev.data import ImageData

__all__ = ["class_names_of", "model_labels"]


def class_names_of(model: GenerativeAutoencoder) -> tuple[str, ...] | None:
    """One name per class of the prior; None of a model that does not tell them."""
    names: tuple[str, ...] | None = getattr(model, "class_names", None)
    return names


def model_labels(model: GenerativeAutoencoder, data: "ImageData") -> np.ndarray:
    """The class of the model's prior that every image belongs to.

    Args:
        model: The model; one that does not tell its ``class_names`` has those of the data.
        data: The images.

    Returns:
        int64 array (N,); all 0 if the prior has one class.

    Raises:
        GenrevError: If the data has no labels, or a class that the model does not know.
    """
    if model.prior.num_classes == 1:
        return np.zeros(len(data), np.int64)
    names = class_names_of(model)
    if names is not None:
        return data.labels_as(names)
    if data.num_classes != model.prior.num_classes:
        raise GenrevError(
            f"the model's prior has {model.prior.num_classes} classes and the data {data.name} has "
            f"{data.num_classes}; use data with the same classes"
        )
    return np.asarray(data.labels)
