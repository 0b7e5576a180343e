"""An image file of a visitor, brought to the shape of a model, or a sentence that says why not.

The file may be anything: its size in bytes is checked before it is opened, that in pixels before
one is decoded, and only formats that Pillow decodes by itself are tried.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from genrev.errors import GenrevError
from genrev.files.paths import reason

MOST_BYTES = 20 * 2**20
MOST_PIXELS = 50_000_000
TOO_LONG = f"{{}} has more than {MOST_BYTES // 2**20} MB; choose a smaller one."  # {}: its name
_LONGEST_NAME = 40
_CURE = "choose a PNG, JPEG, WebP, GIF, BMP or TIFF file"


class Upload(NamedTuple):
    """An image (C, H, W) in [0, 1], and one sentence about what was done to it."""

    x: Tensor
    note: str


def read_upload(path: Path, image_shape: tuple[int, ...]) -> Upload:
    """Read a file that is not to be trusted, in the shape (C, H, W), H = W, of a model."""
    # Late, for the libraries behind genrev.data would keep the page from opening for a second.
    from genrev.data import DataConfig
    from genrev.data.decode import Record, UnreadableImageError, decode

    name = path.name
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 9]}…{name[-8:]}"
    channels, side, _ = image_shape
    size, animated = _header(path, name)
    config = DataConfig(crop=min(size), image_size=side).replace(channels=channels)
    try:
        pixels = decode(Record(name, path, None), config)
    except UnreadableImageError as error:
        why = reason(error.__cause__ or error)
        raise GenrevError(f"{name} is damaged or unusual ({why}); {_CURE}.") from error
    x = torch.from_numpy(pixels.copy()).float() / 255
    steps = [
        *(["first frame only"] if animated else []),
        *(["centre square cut out"] if size[0] != size[1] else []),
        *([f"resized to {side}x{side}"] if min(size) != side else []),
    ]
    done = ", ".join(steps) or "used as it is"
    return Upload(x, f"{name}, {size[0]}x{size[1]} pixels: {done}.")


def _header(path: Path, name: str) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether the file moves, without decoding pixels."""
    if path.stat().st_size > MOST_BYTES:
        raise GenrevError(TOO_LONG.format(name))
    from genrev.data.decode import image_formats

    try:
        with Image.open(path, formats=image_formats()) as image:
            size = image.size
            too_large = size[0] * size[1] > MOST_PIXELS
            animated = not too_large and bool(getattr(image, "is_animated", False))
    except Image.DecompressionBombError:
        too_large = True
    except Exception as error:  # what Pillow's readers raise on damaged files is not specified
        raise GenrevError(f"{name} is not an image that can be read; {_CURE}.") from error
    if too_large:
        raise GenrevError(
            f"{name} has more than {MOST_PIXELS // 1_000_000} megapixels, too many to be read "
            "safely; make it smaller."
        )
    return size, animated
