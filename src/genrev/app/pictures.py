"""Images of the page: enlarged, as HTML, and on the shelf that a visitor chooses from.

Grey images are enlarged by nearest neighbour, photographs smoothly: squares would hide the face.
"""

import base64
import io
from dataclasses import dataclass, replace
from html import escape

from PIL import Image
from torch import Tensor

from genrev.app.exhibit import Exhibit
from genrev.figures import image_grid

MOST_OWN = 12  # images a visitor brought; the oldest leaves when one more comes
_SIDE = 336  # pixels, about; a whole multiple of the image
_THUMBNAIL = 64  # pixels


def enlarged(x: Tensor, side: int = _SIDE) -> Image.Image:
    """One image (C, H, W), clipped to [0, 1], enlarged by a whole number to about ``side``."""
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


def figure(picture: Image.Image, title: str, file_name: str, note: str = "", more: str = "") -> str:
    """HTML of a picture with its title, a quieter note and a button that saves it, all escaped.

    ``more`` is HTML of further buttons.
    """
    title, note = escape(title), escape(note)
    return (
        f'<figure class="picture"><img class="{"sharp" if picture.mode == "L" else ""}" '
        f'alt="{title}" src="{data_uri(picture)}">'
        f"<figcaption><span><b>{title}</b><small>{note}</small></span>"
        f'<button class="save" type="button" title="Save as PNG" aria-label="Save {title} as PNG" '
        f'data-name="{escape(file_name)}.png">PNG&nbsp;↓</button>{more}</figcaption></figure>'
    )


@dataclass(frozen=True, eq=False)
class Shelf:
    """Images of one shape in [0, 1] for one visitor, each under a key that stays its own.

    Keys of examples (N, C, H, W) count up from 0, those of the visitor's images (C, H, W) down from
    -1, of which the first may have ``left`` to make room.
    """

    examples: Tensor
    own: tuple[Tensor, ...] = ()
    left: int = 0

    @classmethod
    def of(cls, exhibit: Exhibit, before: "Shelf | None" = None) -> "Shelf":
        """The shelf of a model; the visitor's images stay if they have its shape."""
        shelf = cls(exhibit.examples())
        if before is None or before.examples.shape[1:] != shelf.examples.shape[1:]:
            return shelf
        return replace(shelf, own=before.own, left=before.left)

    @property
    def newest(self) -> int:
        """Key of the image that was added last."""
        return -self.left - len(self.own)

    def keys(self) -> list[int]:
        """All keys, the visitor's newest image first."""
        mine = range(self.newest, -self.left)
        return [*mine, *range(len(self.examples))]

    def image(self, key: int) -> Tensor:
        """One image (1, C, H, W); the first example for a key that is not there (any more)."""
        if key not in self.keys():
            key = 0
        x = self.examples[key] if key >= 0 else self.own[-key - 1 - self.left]
        return x.unsqueeze(0)

    def add(self, x: Tensor) -> "Shelf":
        """The shelf with one more image (C, H, W) of the visitor."""
        leaving = max(0, len(self.own) + 1 - MOST_OWN)
        return replace(self, own=(*self.own, x)[leaving:], left=self.left + leaving)

    def strip(self, chosen: int, name: str) -> str:
        """HTML of a row of small pictures to choose from; ``name`` says for what."""
        buttons = []
        for key in self.keys():
            kind = f"your image {-key}" if key < 0 else f"example {key + 1}"
            uri = data_uri(enlarged(self.image(key)[0], _THUMBNAIL))
            buttons.append(
                f'<button type="button" class="thumb" data-key="{key}" title="{kind}" '
                f'aria-pressed="{str(key == chosen).lower()}" aria-label="{name}: {kind}">'
                f'<img alt="" src="{uri}"></button>'
            )
        return f'<div class="strip" role="group" aria-label="{name}">{"".join(buttons)}</div>'
