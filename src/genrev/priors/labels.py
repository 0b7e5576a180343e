"""Classes asked of a prior: one for all samples, one for each, or all in turn."""

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

Labels = SupportsIndex | Sequence[SupportsIndex] | np.ndarray | Tensor | None
"""One class for all samples, one for each of them, or ``None`` for all classes in turn."""


def check_class(label: SupportsIndex, num_classes: int) -> int:
    """The label as a Python number; ``TypeError`` unless whole, ``ValueError`` if no class."""
    number = _whole(label, "label")
    if not 0 <= number < num_classes:
        raise ValueError(f"label must lie between 0 and {num_classes - 1} and is {number}.")
    return number


def check_count(n: SupportsIndex) -> int:
    """A number of samples, 0 or more, as a Python number; errors as in ``check_class``."""
    number = _whole(n, "n")
    if number < 0:
        raise ValueError(f"n is a number of samples, 0 or more, and is {number}.")
    return number


def labels_for(n: int, label: Labels, num_classes: int) -> Tensor:
    """Class of each of n samples, int64 of shape (n,) on the CPU, or where a tensor label is."""
    if label is None:
        return torch.arange(n) % num_classes
    if isinstance(label, str | bytes) or not is_several(label):
        return torch.full((n,), check_class(label, num_classes))  # type: ignore[arg-type]
    if not isinstance(label, Tensor | np.ndarray):
        label = [_whole(one, "label") for one in label]  # type: ignore[union-attr]
    labels = torch.as_tensor(label)
    if labels.numel() and (
        labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex()
    ):
        raise TypeError(f"labels must be whole numbers and are {labels.dtype}.")
    if labels.shape != (n,):
        raise ValueError(f"{n} samples need {n} labels and got {tuple(labels.shape)}.")
    labels = labels.long()  # uint8 would be taken for a mask
    for extreme in (labels.min(), labels.max()) if n else ():
        check_class(int(extreme), num_classes)
    return labels


def is_several(label: Any) -> bool:
    """Whether it is a sequence or an array of labels."""
    return label.ndim > 0 if hasattr(label, "ndim") else hasattr(label, "__len__")


def _whole(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) == torch.bool:
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number and is {value!r}.") from None
