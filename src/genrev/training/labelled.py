"""The few images whose labels a semi-supervised training may use."""

from dataclasses import dataclass

import torch
from torch import Tensor

from genrev.data import ImageData
from genrev.errors import GenrevError
from genrev.seeding import noise_generator

__all__ = ["Labelled", "choose_labelled"]


@dataclass(frozen=True)
class Labelled:
    """Images with labels, sorted by class.

    Args:
        indices: their positions in the data, (K * m,).
        images: float32 in [0, 1], (K * m, C, H, W).
        labels: int64 (K * m,).
    """

    indices: Tensor
    images: Tensor
    labels: Tensor


def choose_labelled(data: ImageData, per_class: int, seed: int) -> Labelled:
    """As many images of every class, chosen at random by the seed alone.

    Raises:
        GenrevError: a class with fewer images, or data without classes.
    """
    if data.num_classes < 2:
        raise GenrevError(
            f"--method semi needs data with labels and {data.name} has none; take digits or mnist."
        )
    order = torch.randperm(len(data), generator=noise_generator(seed, 0, "labelled images"))
    labels = torch.from_numpy(data.labels.copy())
    chosen = []
    for number, name in enumerate(data.class_names):
        found = order[labels[order] == number][:per_class]
        if len(found) < per_class:
            raise GenrevError(
                f"--model.labels_per_class is {per_class} and {data.name} has {len(found)} images "
                f"of the class {name}; take fewer."
            )
        chosen.append(found)
    indices = torch.cat(chosen)
    return Labelled(indices, data.tensor(indices), labels[indices])
