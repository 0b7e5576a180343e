"""A number that is measured on held-out images through the training."""

import math
from collections.abc import Callable

from genrev.data import ImageData, load_images
from genrev.evaluation import likelihood_report
from genrev.models import GenerativeModule
from genrev.training.config import RunConfig
from genrev.training.periodic import PeriodicMeasurement

__all__ = ["HeldOut", "held_out_likelihood"]


class HeldOut(PeriodicMeasurement):
    """A number of the model and of held-out images.

    Args:
        name: of the number.
        measure: from the model and the images to the number, the same for the same weights.
        data: the held-out images.
        every: steps between two measurements.
    """

    def __init__(
        self,
        name: str,
        measure: Callable[[GenerativeModule, ImageData], float],
        data: ImageData,
        every: int,
    ) -> None:
        super().__init__(name, every)
        self.measure = measure
        self.data = data

    def number(self, model: GenerativeModule) -> float:
        """What ``measure`` says."""
        return self.measure(model, self.data)


def held_out_likelihood(config: RunConfig, data: ImageData, every: int | None) -> HeldOut:
    """The bits per dimension of the test split of a run's data, always with the same noise.

    Args:
        config: of the run.
        data: its training images.
        every: steps between two measurements; ``None`` for those of an epoch.

    Raises:
        GenrevError: there is no test split.
    """
    epoch = math.ceil(len(data) / config.batch_size)
    test = load_images(config.data, "test")
    return HeldOut("heldout_bits_per_dim", _bits_per_dim, test, every or epoch)


def _bits_per_dim(model: GenerativeModule, data: ImageData) -> float:
    return likelihood_report(model, data)["bits_per_dim"]
