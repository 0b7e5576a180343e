"""Classes asked of a prior: one for all samples, one for each, or all in turn."""

import torch
from torch import Tensor

__all__ = ["check_class", "labels_for"]


def check_class(label: int, num_classes: int) -> int:
    """The label itself.

    Raises:
        ValueError: no such class.
    """
    if not 0 <= label < num_classes:
        raise ValueError(f"label must lie between 0 and {num_classes - 1} and is {label}.")
    return label


def labels_for(n: int, label: int | Tensor | None, num_classes: int) -> Tensor:
    """Class of each of n samples, int64 of shape (n,) on the CPU, or where a tensor label is.

    Args:
        n: number of samples.
        label: one class for all, a tensor (n,) with one class each, or ``None`` to cycle through
            all classes.
        num_classes: how many there are.

    Raises:
        ValueError: a class that does not exist, or a tensor of another length.

    Example:
        >>> labels_for(4, None, 3).tolist(), labels_for(2, 1, 3).tolist()
        ([0, 1, 2, 0], [1, 1])
    """
    if label is None:
        return torch.arange(n) % num_classes
    if not isinstance(label, Tensor):
        return torch.full((n,), check_class(label, num_classes))
    if label.shape != (n,):
        raise ValueError(f"{n} samples need {n} labels and got {tuple(label.shape)}.")
    if n:
        check_class(int(label.min()), num_classes)
        check_class(int(label.max()), num_classes)
    return label
