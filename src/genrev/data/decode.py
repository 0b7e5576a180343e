"""Image files to arrays of one shape: mode, crop, size, and a sentence for what cannot be read."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from genrev.data.config import DataConfig
from genrev.data.formats import image_formats
from genrev.data.source import Record, Source
from genrev.errors import GenrevError

__all__ = [
    "MOST_THREADS",
    "Chunk",
    "UnreadableImageError",
    "check_shape",
    "decode",
    "decode_all",
    "decode_or_skip",
]

MOST_PIXELS = 100_000_000
DECODED_AT_ONCE = 256
MOST_THREADS = 16
SILENT_SECONDS = 2.0
GREY_MODES = ("1", "L", "LA", "La")


class UnreadableImageError(GenrevError):
    """An image that is damaged, or no image; ``on_error="skip"`` goes on without it."""


class Chunk(NamedTuple):
    """Some consecutive images, decoded."""

    images: list[np.ndarray]
    """n uint8 arrays (C, H, W), all of one shape."""
    labels: list[object]
    """The n labels as the source has them."""
    skipped: list[str]
    """Names of the unreadable images between them."""


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.float32)
        return Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels of 32 bits have no agreed range")
    return image


def _to_channels(image: Image.Image, channels: int | None) -> Image.Image:
    """Convert to grey or RGB; what is transparent shows white."""
    grey = channels == 1 or (channels is None and image.mode in GREY_MODES)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def _crop(image: Image.Image, side: int, name: str) -> Image.Image:
    width, height = image.size
    if side > min(width, height):
        raise GenrevError(
            f"{name} has {width}x{height} pixels, too few for a crop of {side}; "
            f"set crop to at most {min(width, height)} or leave it out"
        )
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _why_no_file(path: Path) -> str:
    return "a link that leads nowhere" if path.is_symlink() else "no ordinary file"


def _read(record: Record, channels: int | None) -> Image.Image:
    """Read all pixels; raises UnreadableImageError, whatever is wrong with the file."""
    content = record.content
    if isinstance(content, np.ndarray):
        return _to_channels(Image.fromarray(content), channels)
    try:
        if isinstance(content, Path) and not content.is_file():  # a pipe would be waited for
            raise FileNotFoundError(_why_no_file(content))
        file = BytesIO(content) if isinstance(content, bytes) else content
        with Image.open(file, formats=image_formats()) as image:
            # The size is known before a pixel is read, and a tiny file can claim a huge one.
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            return _to_channels(_to_eight_bits(ImageOps.exif_transpose(image)), channels)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(
            f"{record.name} has more than {MOST_PIXELS // 1_000_000} megapixels, too many to be "
            "read safely; make it smaller or remove it, or set on_error to skip"
        ) from error
    except Exception as error:  # what Pillow's readers raise on damaged files is not specified
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "not a known format" if unknown else str(error).partition("\n")[0]
        raise UnreadableImageError(
            f"{record.name} cannot be read as an image [{reason}]; "
            "replace or remove it, or set on_error to skip"
        ) from error


def decode(record: Record, config: DataConfig) -> np.ndarray:
    """Decode one image and bring it to the channels, crop and size of ``config``.

    Returns:
        uint8 array (C, H, W).

    Raises:
        UnreadableImageError: If the image is damaged, of an unknown format or enormous.
        GenrevError: If it is smaller than the crop.
    """
    image = _read(record, config.channels)
    if isinstance(config.crop, int):
        image = _crop(image, config.crop, record.name)
    if config.image_size and image.size != (config.image_size, config.image_size):
        side = config.image_size
        image = image.resize((side, side), Image.Resampling.LANCZOS)
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


def _describe(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"


def check_shape(name: str, shape: tuple[int, ...], first: tuple[str, tuple[int, ...]]) -> None:
    """Raise GenrevError if an image has another shape than the first one, given with its name."""
    if shape == first[1]:
        return
    cures = [
        *(["image_size"] if shape[1:] != first[1][1:] else []),
        *(["channels to 1 or 3"] if shape[0] != first[1][0] else []),
    ]
    raise GenrevError(
        f"the images differ, for {first[0]} is {_describe(first[1])} and {name} is "
        f"{_describe(shape)}; set {' and '.join(cures)} to bring them to one shape"
    )


def _progress(source: Source, config: DataConfig) -> tqdm:
    """Make a bar that appears after two seconds, on standard error, if that is a terminal."""
    counts = [count for count in (source.total, config.limit) if count is not None]
    return tqdm(
        total=min(counts, default=None),
        desc=f"decoding {source.name}",
        unit=" images",
        delay=SILENT_SECONDS,
        leave=False,
        disable=None,
    )


def decode_all(source: Source, config: DataConfig) -> Iterator[Chunk]:
    """Decode the images of a source in parallel threads, in order, with a progress bar.

    Raises:
        GenrevError: If an image cannot be read (unless ``config.on_error`` is ``skip``), images
            differ in shape, or none is left.
    """
    records = islice(source.records(), config.limit)
    attempt = partial(decode_or_skip, config=config)
    threads = min(os.cpu_count() or 1, MOST_THREADS)
    first: tuple[str, tuple[int, ...]] | None = None
    with ThreadPoolExecutor(threads) as pool, _progress(source, config) as bar:
        while batch := list(islice(records, DECODED_AT_ONCE)):
            chunk = Chunk([], [], [])
            for record, pixels in zip(batch, pool.map(attempt, batch), strict=True):
                if pixels is None:
                    chunk.skipped.append(record.name)
                    continue
                first = first or (record.name, pixels.shape)
                check_shape(record.name, pixels.shape, first)
                chunk.images.append(pixels)
                chunk.labels.append(record.label)
            bar.update(len(batch))
            yield chunk
    if first is None:
        raise GenrevError(f"none of the images of {source.name} can be read; name another source")
