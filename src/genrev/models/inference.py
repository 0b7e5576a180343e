"""Use a model for a figure or a measurement and leave no trace in it.

Both also happen in the middle of training. So gradients are off, dropout and batch normalisation
are in evaluation mode for the time being, and afterwards every module is in the mode it was in
before. ``torch.no_grad`` and not ``inference_mode``: a tensor that a module caches under inference
mode could not take part in the next training step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["device_of", "inference"]


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
            yield device_of(model)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def device_of(model: GenerativeAutoencoder) -> torch.device:
    """Where the model's parameters are, and its inputs have to go."""
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return model.prior.active_dims.device
