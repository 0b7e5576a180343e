"""Checks of images and labels that a model is asked about."""

from torch import Tensor

from genrev.errors import GenrevError
from genrev.models.inference import device_of
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["check_label", "images_for"]


def images_for(model: GenerativeAutoencoder, x: Tensor, name: str) -> Tensor:
    """Check that ``x`` is a batch (N, C, H, W) of at least one image of the model's size.

    Raises:
        ValueError: it is not, or its values are not floats.
    """
    if x.dim() != 4 or len(x) == 0 or tuple(x.shape[1:]) != tuple(model.image_shape):
        expected = ", ".join(str(size) for size in model.image_shape)
        raise ValueError(
            f"{name} must be of shape (N, {expected}) with N >= 1; got {tuple(x.shape)}."
        )
    if not x.is_floating_point():
        raise ValueError(f"{name} must hold floats in [0, 1]; got {x.dtype}.")
    return x.to(device_of(model))


def check_label(model: GenerativeAutoencoder, label: int | None) -> int | None:
    """Check that the model knows class ``label``.

    Returns:
        The label, or None for a model whose prior has one class only.

    Raises:
        GenrevError: there is no such class.
    """
    classes = model.prior.num_classes
    if label is not None and not 0 <= label < classes:
        known = f"the classes 0 to {classes - 1}" if classes > 1 else "no classes"
        raise GenrevError(f"There is no class {label}: this model knows {known}.")
    return label if classes > 1 else None
