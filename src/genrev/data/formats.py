"""What is an image: what Pillow reads, told by the ending, or without one by the first bytes."""

from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image

__all__ = ["image_endings", "image_formats", "is_image", "sniff"]

# What Pillow names and cannot decode by itself: weather, films, drawings. A page of PostScript is a
# program besides, which no data set needs to run, and .pcd are point clouds more often than photos.
_NOT_DECODED = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PCD", "WMF"))
_HEAD = 16  # bytes that tell one format from another; as many as Pillow looks at


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


def is_image(path: Path) -> bool:
    """Whether a file is taken for an image; one without an ending is looked into."""
    ending = path.suffix.lower()
    return ending in image_endings() if ending else path.is_file() and sniff(path)


def sniff(content: Path | bytes) -> bool:
    """Whether a file, given by its path or its bytes, begins as an image does."""
    try:
        if isinstance(content, Path):
            with content.open("rb") as file:
                head = file.read(_HEAD)
        else:
            head = content[:_HEAD]
        likely = [name for name in image_formats() if _accepts(name, head)]
        if not likely:  # which settles most files without parsing anything
            return False
        with Image.open(
            BytesIO(content) if isinstance(content, bytes) else content, formats=likely
        ):
            return True
    except Exception:  # what Pillow's readers raise on other files is not specified
        return False


def _accepts(name: str, head: bytes) -> bool:
    accept = Image.OPEN[name][1]
    return accept is not None and accept(head) is True
