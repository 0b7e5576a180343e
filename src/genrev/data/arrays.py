"""Images that are in memory already: tensors, arrays, pairs with labels, map-style data sets.

They go the way of all other images (crop, channels, Lanczos) to one ``ImageData``.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from genrev.data.config import DataConfig
from genrev.data.decode import Record, decode, to_channels
from genrev.data.fitting import fitted, tell
from genrev.data.images import ImageData, Inventory, fingerprint
from genrev.data.load import decode_in_memory, load_images
from genrev.data.pixels import as_pixels, is_channels_last
from genrev.data.sources import Source
from genrev.data.splits import canonical_split
from genrev.errors import GenrevError
from genrev.progress import track
from genrev.seeding import shuffled
from genrev.words import counted

Given: TypeAlias = Any
"""A tensor or array of images, a pair (images, labels), a map-style data set, an ``ImageData``."""
Splits: TypeAlias = Mapping[str, ImageData]

NAME = "arrays"
_HELD_OUT = 10  # one image of so many
_CURE = (
    "give a tensor or array of images, a pair (images, labels), or a data set with a length whose "
    "items are images or pairs (image, label)."
)


def splits_of(
    given: Given, config: DataConfig | None = None, shape: Sequence[int] | None = None
) -> dict[str, ImageData]:
    """Training and test images of what was given.

    Args:
        given: one of ``Given``, or a dictionary of them by split: ``{"train": ..., "test": ...}``.
            Without a test split a tenth of every class is held out, the same images each time; of
            classes of fewer than ten none is, and without any all images serve as both.
        config: crop, channels, size, limit and label; all else in it is ignored.
        shape: (C, H, W) that the images are brought to; by default what they have.

    Raises:
        GenrevError: what is no images, or no split called ``train``.
    """
    if not isinstance(given, Mapping):
        return _divided(image_data(given, config, shape=shape))
    parts = {canonical_split(str(name)): part for name, part in given.items()}
    if "train" not in parts:
        raise GenrevError(
            f"The images are given by the splits {', '.join(parts) or 'none'}; one of them must be "
            "called train."
        )
    found = {name: image_data(part, config, shape=shape) for name, part in parts.items()}
    return _divided(found["train"]) if len(found) == 1 else _with_inventory(found, None)


def image_data(
    given: Given,
    config: DataConfig | None = None,
    name: str = NAME,
    shape: Sequence[int] | None = None,
) -> ImageData:
    """Images in memory, as bytes and of one shape.

    Args:
        given: one of ``Given``. Images are uint8 or floats in [0, 1], (N, C, H, W), (N, H, W, C)
            or (N, H, W); items of a data set alike, without N, or pictures of PIL. Labels are
            whole numbers or texts, one for each image. A data set is read once, item by item.
        config: crop, channels, size, limit and label; all else in it is ignored.
        name: what the images are called.
        shape: (C, H, W) that they are brought to; by default what they have.

    Raises:
        GenrevError: what is no images, or no labels for each of them.

    Example:
        >>> image_data((np.zeros((4, 8, 8), np.uint8), [3, 8, 3, 8])).class_names
        ('3', '8')
    """
    name = given.name if isinstance(given, ImageData) else name
    images, labels = _images_and_labels(given, name)
    config = config or DataConfig()
    config = config.replace(crop=config.crop if isinstance(config.crop, int) else None)
    rest = iter(images)
    if shape is not None and (first := next(rest, None)) is not None:
        have, want = decode(Record(name, first), config).shape, tuple(shape)
        if have != want:
            tell(name, have, want)
            config = config.replace(channels=want[0], image_size=want[1:])
        rest = chain([first], rest)
    return decode_in_memory(_InMemory(config, name, rest, labels))[0]


def as_image_data(
    given: Given | str | Path, shape: Sequence[int] | None = None, split: str = "test"
) -> ImageData:
    """What was given as one set of images: an ``ImageData`` as it is, all else resized to fit.

    Args:
        given: one of ``Given``, or what ``--data`` takes, of which a split is loaded.
        shape: (C, H, W) that the images are to have; by default what they have.
        split: of data that have a name or a path.
    """
    if isinstance(given, ImageData):
        return given
    if not isinstance(given, str | Path):
        return image_data(given, shape=shape)
    config = DataConfig(source=str(given))
    return load_images(config if shape is None else fitted(config, shape, split), split)


def resized(data: ImageData, shape: tuple[int, int, int]) -> ImageData:
    """The same images in another shape (C, H, W)."""
    return image_data(data, shape=shape)


class _InMemory(Source):
    """What is in memory as a source, which is never kept in the cache."""

    def __init__(
        self, config: DataConfig, name: str, images: Iterable[np.ndarray], labels: Sequence[object]
    ) -> None:
        self.config, self.name, self.split = config, name, "train"
        self.images, self.labels = images, labels
        self.total = len(labels)
        self.refuse_columns()

    def records(self) -> Iterator[Record]:
        """The images, in their order; a data set adds labels while it is read."""
        for number, pixels in enumerate(self.images):
            yield Record(f"image {number} of {self.name}", pixels, self.labels[number])


def _images_and_labels(given: Given, name: str) -> tuple[Iterable[np.ndarray], Sequence[object]]:
    """Images (H, W) or (H, W, 3) in bytes, and a label or None for each."""
    if isinstance(given, ImageData):
        known = given.class_names != ("all",)
        labels = [given.class_names[n] if known else None for n in given.labels]
        return as_pixels(np.asarray(given.images), name), labels
    pair = isinstance(given, tuple) and len(given) == 2
    if isinstance(given, list) and len(given) == 2:  # or two images
        pair = getattr(given[0], "ndim", 0) >= 3 and getattr(given[1], "ndim", 0) == 1
    images, classes = given if pair else (given, None)
    if isinstance(given, tuple) and len(given) > 2 and getattr(given[1], "ndim", 0) == 1:
        raise GenrevError(
            f"A tuple of {len(given)} is no pair (images, labels); give these two alone."
        )
    if isinstance(images, Tensor | np.ndarray):
        if not len(images):
            raise GenrevError("There are no images in what was given; give one or more.")
        if is_channels_last(tuple(images.shape), "the images"):
            print("The images are read as (N, H, W, C), channels last.", file=sys.stderr)
        pixels = as_pixels(images, "the images")
        return pixels, _labels(classes, len(pixels))
    if pair or not hasattr(given, "__getitem__") or not hasattr(given, "__len__"):
        more = "; of a DataLoader that is its .dataset" if hasattr(given, "dataset") else ""
        raise GenrevError(f"{type(given).__name__} is not what images are read from{more}; {_CURE}")
    found: list[object] = []
    return _items(given, found), _Growing(found, len(given))


class _Growing(Sequence[object]):
    """Labels of so many images, of which each is there when its image has been read."""

    def __init__(self, found: list[object], total: int) -> None:
        self.found, self.total = found, total

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, number: Any) -> Any:
        return self.found[number]


def _items(data: Any, labels: list[object]) -> Iterator[np.ndarray]:
    for number in track(range(len(data)), "reading images", "images"):
        image, label = _item(data[number], number)
        labels.append(label)
        yield image


def _item(item: Any, number: int) -> tuple[np.ndarray, object]:
    """Pixels of an item of a data set, and its label or None."""
    several = isinstance(item, tuple | list)
    image = item[0] if several and 1 <= len(item) <= 2 else item
    label = item[1] if several and len(item) == 2 else None
    if isinstance(image, Image.Image):
        return np.asarray(to_channels(image, None)), _plain(label)
    if not isinstance(image, Tensor | np.ndarray):
        raise GenrevError(f"Item {number} of the data is of {type(item).__name__}; {_CURE}")
    return as_pixels(image[None], f"item {number} of the data")[0], _plain(label)


def _labels(given: Any, total: int) -> Sequence[object]:
    if given is None:
        return [None] * total
    labels = _plain(given)
    if not isinstance(labels, list | tuple) or any(isinstance(one, list) for one in labels):
        raise GenrevError(
            "The labels are no list of classes; give one whole number or text for each "
            "image, such as one_hot.argmax(1)."
        )
    if len(labels) != total:
        raise GenrevError(
            f"Got {counted(total, 'image')} and {counted(len(labels), 'label')}; give one "
            "label for each image."
        )
    return [_plain(one) for one in labels]


def _plain(value: Any) -> Any:
    """Plain Python of a tensor or an array, or of one number of it."""
    return value.tolist() if hasattr(value, "tolist") else value


def _divided(data: ImageData) -> dict[str, ImageData]:
    """Training and test images of one set, the same for the same images."""
    held = np.zeros(len(data), bool)
    for label in range(data.num_classes):
        places = np.flatnonzero(data.labels == label)
        held[shuffled(places, 0, "held out", label)[: len(places) // _HELD_OUT]] = True
    if not held.any():
        return {"train": data, "test": data}
    parts = {"train": _part(data, ~held), "test": _part(data, held)}
    return _with_inventory(parts, "a tenth of the images is held out")


def _part(data: ImageData, chosen: np.ndarray) -> ImageData:
    images, labels = np.asarray(data.images)[chosen], data.labels[chosen]
    images.flags.writeable = labels.flags.writeable = False
    return ImageData(images, labels, data.class_names, data.name, fingerprint(images, labels))


def _with_inventory(parts: Splits, note: str | None) -> dict[str, ImageData]:
    inventory = Inventory({name: len(part) for name, part in parts.items()}, note=note)
    return {
        name: ImageData(
            part.images, part.labels, part.class_names, part.name, part.fingerprint, inventory
        )
        for name, part in parts.items()
    }
