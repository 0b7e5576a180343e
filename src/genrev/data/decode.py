"""Image files to arrays of one shape, and a sentence for what cannot be read."""

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from genrev.data.config import DataConfig
from genrev.errors import GenrevError

MOST_PIXELS = 100_000_000
MOST_THREADS = 16
# What Pillow names and cannot decode by itself: weather, films, drawings. PostScript is a program
# besides, and .pcd are point clouds more often than photos.
_NOT_DECODED = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PCD", "WMF"))


class Record(NamedTuple):
    """One image before it is decoded."""

    name: str
    """A path, or a row of a file, for messages."""
    content: Path | bytes | np.ndarray
    """An image file, the bytes of one, or a uint8 array (H, W) or (H, W, 3)."""
    label: object = None
    """A number, a text or None, as the source has the class."""


class UnreadableImageError(GenrevError):
    """An image that is damaged, or no image; ``on_error="skip"`` goes on without it."""


def decode(record: Record, config: DataConfig) -> np.ndarray:
    """Bring one image to the channels, crop and size of ``config``: uint8 (C, H, W)."""
    image = _read(record, config.channels)
    if isinstance(crop := config.crop, int):
        width, height = image.size
        if crop > min(width, height):
            raise GenrevError(
                f"{record.name} has {width}x{height} pixels, too few for a crop of {crop}; "
                f"set crop to at most {min(width, height)} or leave it out."
            )
        left, top = (width - crop) // 2, (height - crop) // 2
        image = image.crop((left, top, left + crop, top + crop))
    if (sizes := config.sizes) and image.size != sizes[::-1]:
        image = image.resize(sizes[::-1], Image.Resampling.LANCZOS)
    pixels = np.asarray(image)  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def decode_or_skip(record: Record, config: DataConfig) -> np.ndarray | None:
    """Decode one image, or return None for an unreadable one that is to be skipped."""
    try:
        return decode(record, config)
    except UnreadableImageError:
        if config.on_error == "raise":
            raise
        return None


class UnequalImagesError(GenrevError):
    """Images of several shapes, and nothing that says which they are to have."""


def check_shape(name: str, shape: tuple[int, ...], first: tuple[str, tuple[int, ...]]) -> None:
    """Raise GenrevError if an image has another shape than the first one, given with its name."""
    if shape == first[1]:
        return
    cures = ["image_size"] * (shape[1:] != first[1][1:])
    cures += ["channels to 1 or 3"] * (shape[0] != first[1][0])
    kinds = [f"{w}x{h} {'grey' if c == 1 else 'RGB'}" for c, h, w in (first[1], shape)]
    raise UnequalImagesError(
        f"The images differ: {first[0]} is {kinds[0]} and {name} is {kinds[1]}; set "
        f"{' and '.join(cures)} to bring them to one shape (a training has --data.image_size and "
        "--data.channels, `genrev distance` --image_size and --channels)."
    )


def read_image(path: Path, config: DataConfig) -> Tensor:
    """One image file as ``config`` wants it, (C, H, W) in [0, 1]; GenrevError where that fails."""
    return torch.from_numpy(decode(Record(str(path), path), config).copy()).float() / 255


def find_images(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tell images from other files; a link that leads nowhere may have been a folder of a class."""
    found: tuple[list[Path], list[Path]] = ([], [])
    for path in files:
        other = not is_image(path)
        if other and path.is_symlink() and not path.exists():
            raise GenrevError(
                f"{path} is a link to {path.readlink()}, which is not there; "
                "restore the folder or file that it led to, or remove the link."
            )
        found[other].append(path)
    return found


def is_image(path: Path) -> bool:
    """Whether a file is what Pillow reads, by its ending, or without one by its first bytes."""
    if path.suffix:
        return path.suffix.lower() in image_endings()
    return path.is_file() and sniff(path)


def sniff(content: Path | bytes) -> bool:
    """Whether a file, given by its path or its bytes, begins as an image does."""
    try:
        with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            head = file.read(16)  # as much as Pillow looks at
            accepts = ((name, Image.OPEN[name][1]) for name in image_formats())
            likely = [name for name, accept in accepts if accept and accept(head) is True]
            if likely:  # which settles most files without parsing anything
                file.seek(0)
                Image.open(file, formats=likely).close()
            return bool(likely)
    except Exception:  # what Pillow's readers raise on other files is not specified
        return False


@cache
def image_formats() -> tuple[str, ...]:
    """Names of the formats that are read, as Pillow has them."""
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_DECODED)


@cache
def image_endings() -> frozenset[str]:
    """Endings, in lower case, of files that are taken for images."""
    readable = {*image_formats(), "MPO"}  # several JPEG in one file; the format JPEG opens it
    known = Image.registered_extensions()
    return frozenset(ending for ending, name in known.items() if name in readable)


def _read(record: Record, channels: int | None) -> Image.Image:
    """Read all pixels; raises UnreadableImageError, whatever is wrong with the file."""
    content = record.content
    if isinstance(content, np.ndarray):
        if content.dtype != np.uint8:
            raise TypeError(f"{record.name} must hold uint8 pixels, got {content.dtype}")
        return to_channels(Image.fromarray(content), channels)
    try:
        if isinstance(content, Path) and not content.is_file():  # a pipe would be waited for
            link = content.is_symlink()
            raise FileNotFoundError("a link that leads nowhere" if link else "no ordinary file")
        file = BytesIO(content) if isinstance(content, bytes) else content
        with Image.open(file, formats=image_formats()) as image:
            # The size is known before a pixel is read, and a tiny file can claim a huge one.
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            return to_channels(ImageOps.exif_transpose(image), channels)
    except Exception as error:  # what Pillow's readers raise on damaged files is not specified
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "not a known format" if unknown else str(error).partition("\n")[0]
        told = f"cannot be read as an image [{reason}]; replace"
        if isinstance(error, Image.DecompressionBombError):
            most = f"{MOST_PIXELS // 1_000_000} megapixels"
            told = f"has more than {most}, too many to be read safely; make it smaller"
        raise UnreadableImageError(
            f"{record.name} {told} or remove it (a training goes on without it by --data.on_error "
            "skip, other commands by --on_error skip)."
        ) from error


def to_channels(image: Image.Image, channels: int | None) -> Image.Image:
    """Convert to grey or RGB of eight bits; what is transparent shows white."""
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float32)
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels of 32 bits have no agreed range")
    grey = channels == 1 or (channels is None and image.mode in ("1", "L", "LA", "La"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")
