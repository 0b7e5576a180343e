"""Run a model for measurements: in batches, without gradients, and leave no trace in it.

Evaluation may happen in the middle of training, so every module is afterwards in the mode
(training or evaluation) it was in before.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from genrev.data import ImageData
from genrev.models.protocol import GenerativeAutoencoder

__all__ = ["batches", "inference"]


@contextmanager
def inference(model: GenerativeAutoencoder) -> Iterator[torch.device]:
    """Evaluation mode without gradients for the duration of a ``with`` block.

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


def _device(model: GenerativeAutoencoder) -> torch.device:
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return model.prior.active_dims.device


def batches(
    data: ImageData, batch_size: int, indices: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Indices of ``data`` (or those given), ``batch_size`` at a time."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more and is {batch_size}.")
    chosen = np.arange(len(data)) if indices is None else indices
    for start in range(0, len(chosen), batch_size):
        yield chosen[start : start + batch_size]
