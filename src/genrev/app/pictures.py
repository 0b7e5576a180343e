"""One image of a model as a picture large enough to look at, and as a PNG.

Grey images are enlarged by nearest neighbour: a digit of 28 pixels stays 28 sharp squares.
Photographs are enlarged smoothly, for squares would hide the face.
"""

import base64
import io
from html import escape

from PIL import Image
from torch import Tensor

from genrev.figures import image_grid

__all__ = ["data_uri", "enlarged", "figure"]

_SIDE = 336  # pixels, about; a whole multiple of the image


def enlarged(x: Tensor, side: int = _SIDE) -> Image.Image:
    """Enlarge one image by a whole number.

    Args:
        x: image (C, H, W); values outside [0, 1] are clipped.
        side: pixels of the longer side, about; smaller images than this are never shrunk.

    Returns:
        A grey or an RGB picture.

    Example:
        >>> import torch
        >>> enlarged(torch.rand(1, 28, 28), side=300).size
        (280, 280)
    """
    picture = image_grid(x.detach().unsqueeze(0), padding=0, scale=1)
    scale = max(1, side // max(picture.size))
    size = (picture.width * scale, picture.height * scale)
    smooth = Image.Resampling.BICUBIC
    return picture.resize(size, Image.Resampling.NEAREST if picture.mode == "L" else smooth)


def data_uri(picture: Image.Image) -> str:
    """A PNG that is part of the page: nothing is written to disk and no second request is made."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def figure(picture: Image.Image, title: str, file_name: str, note: str = "") -> str:
    """HTML of a picture with its title, a note and a button that saves it as PNG.

    Args:
        picture: what to show.
        title: what it is, also for those who cannot see it.
        file_name: what the saved file is called, without ``.png``.
        note: a second, quieter line.

    Texts are escaped: the names in them come from files that somebody else may have written.
    """
    sharp = " sharp" if picture.mode == "L" else ""
    title, note = escape(title), escape(note)
    return (
        f'<figure class="picture"><img class="{sharp.strip()}" alt="{title}" '
        f'src="{data_uri(picture)}"><figcaption><span><b>{title}</b><small>{note}</small></span>'
        f'<button class="save" type="button" title="Save as PNG" aria-label="Save {title} as PNG" '
        f'data-name="{escape(file_name)}.png">PNG&nbsp;↓</button></figcaption></figure>'
    )
