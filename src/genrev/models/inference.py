"""What figures, evaluation and the explorer ask of a model, and how they leave no trace in it.

Both also happen in the middle of training, so afterwards every module is in the mode it was in
before. ``torch.no_grad`` and not ``inference_mode``: a tensor that a module caches under inference
mode could not take part in the next training step.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from genrev.priors import Prior


class GenerativeAutoencoder(Protocol):
    """An encoder, a decoder and the prior that the encodings are trained to follow."""

    @property
    def prior(self) -> Prior:
        """The distribution that encodings are trained to follow."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width (C, H, W) of the images."""

    def encode(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D)."""

    def decode(self, z: Tensor) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), not clipped to [0, 1]."""

    def sample(
        self, n: int, label: int | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw images (N, C, H, W) clipped to [0, 1]; without ``label`` classes are cycled."""


def is_autoencoder(given: Any) -> TypeGuard[GenerativeAutoencoder]:
    """Whether it has what a ``GenerativeAutoencoder`` has.

    ``isinstance`` of a protocol does not see the modules within a module from Python 3.12 on.
    """
    names = "prior", "image_shape", "encode", "decode", "sample"
    return all(hasattr(given, name) for name in names)


@contextmanager
def inference(model: GenerativeAutoencoder) -> Iterator[torch.device]:
    """Evaluation mode without gradients, for a ``with`` block, which gets the model's device.

    Several threads may do so with one model; one that trains meanwhile finds it in that mode.
    """
    key = id(model)
    with _lock:
        _looking[key] += 1
        if _looking[key] == 1:
            modules = list(model.modules()) if isinstance(model, nn.Module) else []
            _modes[key] = [(module, module.training) for module in modules]
            for module in modules:
                module.training = False
    try:
        with torch.no_grad():
            yield device_of(model)
    finally:
        with _lock:
            _looking[key] -= 1
            if not _looking[key]:
                del _looking[key]
                for module, training in _modes.pop(key):
                    module.training = training


# Threads may look at one model together: the first to come notes its modes, the last sets them.
_lock = threading.Lock()
_looking: Counter[int] = Counter()
_modes: dict[int, list[tuple[nn.Module, bool]]] = {}


def device_of(model: GenerativeAutoencoder) -> torch.device:
    """Where the model's parameters are, and its inputs have to go."""
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return model.prior.active_dims.device
