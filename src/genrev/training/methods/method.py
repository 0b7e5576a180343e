"""What the loop around a training has to know about a method."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from genrev.data import ImageData
from genrev.models import GenerativeModule
from genrev.training.config import RunConfig
from genrev.training.metrics_csv import Measurements
from genrev.training.module import TrainingModule

__all__ = ["Method"]


def _nothing(config: RunConfig, data: ImageData) -> list[Measurements]:
    del config, data
    return []


def _done(
    config: RunConfig, model: GenerativeModule, data: ImageData, device: torch.device
) -> None:
    del config, model, data, device


@dataclass(frozen=True)
class Method:
    """A method of training.

    Args:
        balanced: whether batches hold the same number of images of every class.
        check: raises ``GenrevError`` for options that no run can have; before data is read.
        check_data: the same for options that do not fit the images.
        build_model: the untrained model. Its last argument is False for a model that is loaded
            into next, which need not look at the images.
        build_module: the LightningModule around it.
        measurements: callbacks whose results get columns in ``metrics.csv``.
        finish: what is left to do with a model when its training is over, in place. The model
            comes and stays on the CPU; the device is the one it was trained on.
    """

    balanced: bool
    check: Callable[[RunConfig], None]
    check_data: Callable[[RunConfig, ImageData], None]
    build_model: Callable[[RunConfig, ImageData, torch.device, bool], GenerativeModule]
    build_module: Callable[[RunConfig, GenerativeModule, ImageData], TrainingModule]
    measurements: Callable[[RunConfig, ImageData], list[Measurements]] = _nothing
    finish: Callable[[RunConfig, GenerativeModule, ImageData, torch.device], None] = _done
