"""How learning rates change through a training."""

from typing import Literal

__all__ = ["rate_factor"]


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
