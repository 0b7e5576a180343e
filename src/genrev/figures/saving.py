"""Write a picture or a plot to a file: whole or not at all.

The file is written under a temporary name in the same folder and then renamed, so a reader
never sees half a picture and a failure leaves the old file as it was.
"""

import io
import os
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from genrev.errors import GenrevError
from genrev.files.paths import expand
from genrev.files.writing import write_bytes

__all__ = ["save_image", "write_file"]

_PICTURE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".pdf": "PDF",
}
_PLOT_FORMATS = {
    ".png": "png",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".webp": "webp",
    ".pdf": "pdf",
    ".svg": "svg",
}
_DPI = 150


def save_image(image: Image.Image | Figure, path: str | os.PathLike[str]) -> Path:
    """Save a picture or a plot; the extension of ``path`` names the format.

    Pictures can be png, jpg, webp, gif and pdf, plots png, jpg, webp, pdf and svg. Missing
    folders are created.

    Returns:
        The path of the file.

    Raises:
        GenrevError: an extension that is not among these, a picture too large for its format, or
            a file that cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_image(Image.new("L", (8, 8)), Path(folder, "figures", "square.png")).name
        'square.png'
    """
    path = expand(path)
    formats = _PLOT_FORMATS if isinstance(image, Figure) else _PICTURE_FORMATS
    name = formats.get(path.suffix.lower())
    if name is None:
        kind = "plot" if isinstance(image, Figure) else "picture"
        raise GenrevError(
            f"Cannot save a {kind} as '{path}': the name must end in one of {', '.join(formats)}."
        )
    return write_file(path, _encode(image, path, name))


def write_file(path: Path, data: bytes) -> Path:
    """Write a file, whole or not at all; missing folders are created.

    Returns:
        The path.

    Raises:
        GenrevError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    except OSError as error:
        raise GenrevError(
            f"Cannot write '{path}': {error.strerror}; "
            "name a file in a folder that you may write to and that has room."
        ) from error
    return path


def _encode(image: Image.Image | Figure, path: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    if isinstance(image, Figure):
        image.savefig(buffer, format=name, dpi=_DPI)
        return buffer.getvalue()
    try:
        if name == "JPEG":
            image.save(buffer, format=name, quality=95, subsampling=0)
        elif name == "WEBP":
            image.save(buffer, format=name, lossless=True)
        else:
            image.save(buffer, format=name)
    except (OSError, ValueError) as error:  # what Pillow raises past the size limit of a format
        raise GenrevError(
            f"Cannot save a picture of {image.width}x{image.height} pixels as '{path}' "
            f"({error}); use the extension .png or draw fewer images."
        ) from error
    return buffer.getvalue()
