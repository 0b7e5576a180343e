"""A split of a data set in memory: uint8 images, labels, a fingerprint, and a line about them."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genrev.errors import GenrevError
from genrev.words import counted


class Inventory(NamedTuple):
    """What a source holds beside the split that is opened; see the attributes of ``Source``."""

    splits: Mapping[str, int | None] = {}
    total: int | None = None
    kind: str = "images"
    skipped: tuple[str, ...] = ()
    note: str | None = None


class Images:
    """What images in memory and a stream of them have in common."""

    name: str
    labels: np.ndarray  # int64 (N,)
    class_names: tuple[str, ...]
    inventory: Inventory

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes; 1 if there are no labels."""
        return len(self.class_names)


@dataclass(frozen=True, eq=False)
class ImageData(Images):
    """Images of one shape and their classes.

    Args:
        images: uint8 array (N, C, H, W), read-only; a memory map if it comes from the cache.
        labels: int64 array (N,) of values 0 to ``num_classes - 1``; all 0 if there are no labels.
        class_names: one name per class; ``("all",)`` if there are no labels.
        name: short name for titles and file names.
        fingerprint: SHA-256 of pixels, labels and shape, whatever files they were read from.
        inventory: what else there is where the images come from.

    Raises:
        ValueError: the arrays do not have these types, shapes and values.
    """

    images: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]
    name: str
    fingerprint: str
    inventory: Inventory = field(default=Inventory(), repr=False)

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(
                f"images must be uint8 (N, C, H, W), got {images.dtype} {images.shape}"
            )
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise ValueError(f"labels must be int64 (N,), got {labels.dtype} {labels.shape}")
        if not len(labels):
            raise ValueError("there must be at least one image")
        low, high = labels.min(), labels.max()
        if low < 0 or high >= self.num_classes:
            raise ValueError(
                f"labels run from {low} to {high}, but there are {self.num_classes} class names"
            )

    def __deepcopy__(self, memo: dict[int, object]) -> "ImageData":
        """Itself: nothing in it changes, and a copy would read the whole memory map."""
        return self

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width (C, H, W)."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def labels_as(self, class_names: Sequence[str]) -> np.ndarray:
        """Positions of the labels in a list of names, int64 (N,); GenrevError where one lacks."""
        place = {name: number for number, name in enumerate(class_names)}
        known = shown_classes(class_names)
        if self.num_classes == 1 and self.class_names[0] not in place:
            raise GenrevError(
                f"{self.name} has no labels, and the classes {known} are needed; "
                "name data with these classes."
            )
        present = np.flatnonzero(np.bincount(self.labels, minlength=self.num_classes))
        foreign = [self.class_names[n] for n in present if self.class_names[n] not in place]
        if foreign:
            raise GenrevError(
                f"{self.name} has images of the class {shown_classes(foreign)}, which is none of "
                f"{known}; rename the class as it was called, or leave its images out."
            )
        numbers = np.array([place.get(name, -1) for name in self.class_names], np.int64)
        return numbers[self.labels]

    def tensor(self, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Images of n indices, float32 (n, C, H, W) in [0, 1]; negative ones count from the end."""
        positions = np.asarray(indices, dtype=np.int64)
        return torch.from_numpy(self.images[positions].astype(np.float32)) / 255


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """SHA-256 of decoded pixels (N, C, H, W), labels (N,) and shape, in 64 hexadecimal digits."""
    digest = hashlib.sha256(repr(tuple(int(n) for n in images.shape)).encode())
    for start in range(0, len(images), 1024):
        digest.update(images[start : start + 1024].tobytes())
    digest.update(labels.astype("<i8").tobytes())
    return digest.hexdigest()


def shown_classes(names: Sequence[str], most: int = 10) -> str:
    """The first names of a list that may be long."""
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def summary(data: Images) -> str:
    """Tell how a data set was understood.

    Example:
        >>> from genrev.data import load_images
        >>> summary(load_images("digits"))
        'digits: train 1,500, test 297, 10 classes (0, 1, 2, ...)'
    """
    found, many = data.inventory, data.num_classes
    parts = [f"{name} {count:,}" if count else name for name, count in found.splits.items()]
    total = len(data) if found.total is None else found.total
    parts = parts or [f"{counted(total, 'image')} without splits"]
    parts.append(f"{many:,} classes ({_first(data.class_names)})" if many > 1 else "no classes")
    notes = [found.note, skipped_files(found.skipped, found.kind)]
    return "; ".join([f"{data.name}: {', '.join(parts)}", *filter(None, notes)])


def announce(data: Images) -> None:
    """Print ``summary`` on standard error, where it is in nobody's way."""
    print(f"data {summary(data)}", file=sys.stderr)


def skipped_files(names: tuple[str, ...], kind: str = "images") -> str | None:
    """Count and name files that are not read since they are not ``kind``; None without any."""
    return (
        f"skipped {counted(len(names), 'file')} other than {kind}: {_first(names)}"
        if names
        else None
    )


def _first(names: Sequence[str]) -> str:
    """The first names of files or classes, which may hold anything, on one line."""
    return shown_classes([n if n.isprintable() else ascii(n) for n in names], most=3)
