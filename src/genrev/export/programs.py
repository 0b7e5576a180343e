"""What is exported: one function of tensors per direction, with names and examples of its inputs.

=========  ==============================================  =========================================
direction  inputs                                          output
=========  ==============================================  =========================================
encode     ``images`` (N, C, H, W) in [0, 1]               ``latents`` (N, D)
decode     ``latents`` (N, D)                              ``images`` (N, C, H, W), not clipped
sample     ``noise`` (N, m), ``labels`` (N,) int64         ``images`` (N, C, H, W) in [0, 1]
=========  ==============================================  =========================================

``encode`` and ``decode`` are the model's own. A program has no random numbers, so ``sample`` is
given them, as many a row as ``prior.noise`` draws: one per active dimension, standard normal, or
uniform on [0, 1) for a uniform prior, logistic for a logistic one; for a mixture, a uniform number
comes before the normal ones.
It takes labels only where the prior has classes.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from genrev.models import GenerativeModel

__all__ = ["DIRECTIONS", "Direction", "Program"]

Direction = Literal["encode", "decode", "sample"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@dataclass(frozen=True)
class Program:
    """One direction of a model.

    Attributes:
        model: on the CPU, in evaluation mode.
        direction: which way.
    """

    model: GenerativeModel
    direction: Direction

    @property
    def module(self) -> nn.Module:
        """A module whose ``forward`` takes the inputs, by the names they have."""
        if self.direction == "encode":
            return _Encoder(self.model)
        if self.direction == "decode":
            return _Decoder(self.model)
        return _LabelledSampler(self.model) if self._labelled else _Sampler(self.model)

    @property
    def output(self) -> str:
        """Name of the output."""
        return "latents" if self.direction == "encode" else "images"

    def example(self, n: int) -> dict[str, Tensor]:
        """Inputs for a batch of n by name, the same ones on every call."""
        generator = torch.Generator().manual_seed(n)
        if self.direction == "encode":
            return {"images": torch.rand(n, *self.model.image_shape, generator=generator)}
        if self.direction == "decode":
            return {"latents": self.model.prior.sample(n, generator=generator).detach()}
        noise = {"noise": self.model.prior.noise(n, generator)}
        labels = {"labels": torch.arange(n) % self.model.prior.num_classes}
        return noise | labels if self._labelled else noise

    @property
    def _labelled(self) -> bool:
        return self.model.prior.num_classes > 1


class _Encoder(nn.Module):
    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.encode(images)


class _Decoder(nn.Module):
    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor) -> Tensor:
        return self.model.decode(latents)


class _LabelledSampler(nn.Module):
    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.model.decode(self.model.prior.from_noise(noise, labels)).clamp(0, 1)


class _Sampler(nn.Module):
    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, noise: Tensor) -> Tensor:
        labels = torch.zeros_like(noise[:, 0], dtype=torch.int64)  # of a prior with one class
        return self.model.decode(self.model.prior.from_noise(noise, labels)).clamp(0, 1)
