"""Use a model for a figure and leave no trace in it.

Figures are also drawn in the middle of training. So gradients are off, dropout and batch
normalisation are in evaluation mode for the time being, and afterwards every module is in the
mode it was in before. ``torch.no_grad`` and not ``inference_mode``: a tensor that a module
caches under inference mode could not take part in the next training step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from genrev.errors import GenrevError
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["check_label", "images_for", "inference"]


@contextmanager
def inference(model: GenerativeAutoencoder) -> Iterator[torch.device]:
    """Evaluation mode without gradients, for the duration of a ``with`` block.

    Yields:
        The device of the model, where inputs have to go.
    """
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        with torch.no_grad():
            yield _device(model)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


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
    return x.to(_device(model))


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


def _device(model: GenerativeAutoencoder) -> torch.device:
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return model.prior.active_dims.device
