"""How learning rates change through a training."""

from collections.abc import Callable
from typing import Literal

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ["rate_factor", "scheduled"]


def rate_factor(schedule: Literal["constant", "linear"], step: int, steps: int) -> float:
    """What a learning rate is multiplied with.

    Args:
        schedule: keep it, or let it fall linearly to zero.
        step: the step that comes next, from 0.
        steps: length of the training.

    Example:
        >>> [rate_factor("linear", step, 4) for step in range(4)], rate_factor("constant", 3, 4)
        ([1.0, 0.75, 0.5, 0.25], 1.0)
    """
    return 1.0 if schedule == "constant" else max(0.0, 1.0 - step / steps)


def scheduled(optimizer: Optimizer, factor: Callable[[int], float]) -> OptimizerLRSchedulerConfig:
    """An optimiser whose learning rates Lightning multiplies anew in every step.

    Args:
        optimizer: with the rates of the first step.
        factor: what they are multiplied with in a step, counted from 0.
    """
    schedule = LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
