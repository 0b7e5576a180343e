"""Images of other people's sizes, brought to the one that a network takes, and a word about it."""

import sys
from collections.abc import Sequence
from itertools import islice

from genrev.data.config import DataConfig
from genrev.data.decode import decode_or_skip
from genrev.data.sources import open_source

_LOOKED_AT = 10  # images, which may differ


def fitted(
    config: DataConfig, image_shape: Sequence[int], split: str = "train", told: bool = False
) -> DataConfig:
    """The configuration with which images get a network's size and channels.

    It stays as it is where its images fit, or where it asks for another size or other channels
    itself; so do streams, and images for a network that takes signals or volumes.

    Args:
        config: of the images.
        image_shape: channels, height and width (C, H, W) that the network takes.
        split: whose first images are looked at; of ``all`` those of train.
        told: whether the user knows already, from another split.

    Raises:
        GenrevError: no such data or split.
    """
    if config.streaming or len(image_shape) != 3:
        return config
    channels, *sizes = image_shape
    if channels not in (1, 3) or config.sizes not in (None, tuple(sizes)):
        return config
    if config.channels not in (None, channels) or None not in (config.image_size, config.channels):
        return config
    others = _first_shapes(config, split) - {tuple(image_shape)}
    if not others:
        return config
    if not told:
        # As the files have them, whatever the recipe itself makes of them.
        found = _first_shapes(config.replace(image_size=None, channels=None, crop=None), split)
        tell(config.source, min(found), image_shape)
    return as_taken(config, image_shape)


def as_taken(config: DataConfig, image_shape: Sequence[int]) -> DataConfig:
    """The configuration with the size and channels of a network where it leaves them open."""
    if len(image_shape) != 3 or image_shape[0] not in (1, 3):
        return config
    channels, *sizes = image_shape
    return config.replace(
        image_size=tuple(sizes) if config.image_size is None else config.image_size,
        channels=config.channels or channels,
    )


def tell(name: str, have: Sequence[int], become: Sequence[int]) -> None:
    """Say on standard error that images are resized, from shapes (C, H, W) to others."""
    shapes = ["x".join(map(str, shape)) for shape in (have, become)]
    print(
        f"data {name}: images of {shapes[0]} (channels x height x width) become {shapes[1]}, "
        "as the network takes them",
        file=sys.stderr,
    )


def _first_shapes(config: DataConfig, split: str) -> set[tuple[int, ...]]:
    """Shapes of the first images, as far as they can be read."""
    source = open_source(config, "train" if split == "all" else split)
    lenient = source.config.replace(on_error="skip")
    decoded = (decode_or_skip(record, lenient) for record in islice(source.records(), _LOOKED_AT))
    return {tuple(pixels.shape) for pixels in decoded if pixels is not None}
