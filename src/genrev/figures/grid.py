"""Images in a grid with labelled rows and columns: what every picture of this package is made of.

The layout, in pixels, with everything optional left out when it is not asked for::

    margin | title
           | row labels | column labels
           |            | image  padding  image  padding  image
           |            | padding
           |            | image  padding  image  ...                | margin

Small images are enlarged by a whole number, so one pixel stays one sharp square. Where images are
smaller than a label, their column or row is as large as it, so no text is ever cut.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from genrev.errors import GenrevError

_SIDE = 96  # pixels an image is enlarged to, about
_MAX_WIDTH = 1600  # pixels; a picture wider than this is not enlarged to become so
_GAP = 8  # pixels between a text and what it names
_LINE_GAP = 4  # pixels between the lines of one label
_INK = "#202020"


def image_grid(
    images: Tensor,
    columns: int | None = None,
    padding: int = 4,
    scale: int | None = None,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Image.Image:
    """Arrange images row by row on a white ground.

    Args:
        images: floats (N, C, H, W), C = 1 (a grey picture) or 3. They are clipped to [0, 1].
        columns: images in a row; by default the grid is close to a square.
        padding: pixels between neighbours and around the grid.
        scale: whole-number enlargement; by default images are about 96 pixels wide in a picture of
            at most 1600 pixels.
        row_labels: one text per row, on the left, maybe of several lines. The font knows ASCII.
        column_labels: one text per column, above.
        title: text at the top.

    Raises:
        ValueError: no images or none of such a shape, not one label per row or column, or a size
            that is negative.
        GenrevError: the images contain NaN.

    Example:
        >>> image_grid(torch.rand(6, 1, 8, 8), columns=3, padding=2, scale=4).size
        (104, 70)
    """
    pixels = _to_pixels(images)
    columns = math.ceil(math.sqrt(len(pixels))) if columns is None else columns
    if scale is None:
        affordable = _MAX_WIDTH // (max(columns, 1) * images.shape[3])
        scale = max(1, min(round(_SIDE / max(images.shape[2:])), affordable))
    if columns < 1 or scale < 1 or padding < 0:
        raise ValueError(
            "columns and scale must be at least 1 and padding at least 0; "
            f"got columns={columns}, scale={scale}, padding={padding}."
        )
    rows = math.ceil(len(pixels) / columns)
    for kind, labels, number in (("row", row_labels, rows), ("column", column_labels, columns)):
        if labels is not None and len(labels) != number:
            came = f"{len(labels)} {kind} labels came."
            raise ValueError(f"the grid has {number} {kind}s, but {came}")
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width, channels = pixels.shape[1:]
    layout = _Layout(row_labels or (), column_labels or (), title or "", (height, width), padding)
    canvas = np.full((*layout.size(rows, columns), channels), 255, dtype=np.uint8)
    for index, image in enumerate(pixels):
        x, y = layout.middle(index // columns, index % columns)
        x, y = x - width // 2, y - height // 2
        canvas[y : y + height, x : x + width] = image
    picture = Image.fromarray(canvas.squeeze(2) if channels == 1 else canvas)
    layout.write_texts(picture)
    return picture


def tile_pictures(pictures: Sequence[Image.Image], columns: int, padding: int = 12) -> Image.Image:
    """Put finished pictures side by side, row by row; a ``ValueError`` without any or columns."""
    if not pictures or columns < 1:
        raise ValueError(f"{len(pictures)} pictures cannot be put into {columns} columns.")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    width = max(picture.width for picture in pictures) + padding
    height = max(picture.height for picture in pictures) + padding
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    canvas = Image.new(mode, (columns * width - padding, rows * height - padding), "white")
    for index, picture in enumerate(pictures):
        canvas.paste(picture, (index % columns * width, index // columns * height))
    return canvas


def _to_pixels(images: Tensor) -> np.ndarray:
    """Floats (N, C, H, W) to bytes (N, H, W, C)."""
    if images.dim() != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            "a grid needs images of shape (N, C, H, W) with N >= 1 and C = 1 or 3; "
            f"got {tuple(images.shape)}."
        )
    if not images.is_floating_point():
        raise ValueError(f"a grid needs float images in [0, 1]; got {images.dtype}.")
    images = images.detach().to(device="cpu", dtype=torch.float32)
    if images.isnan().any():
        raise GenrevError(
            "The images contain NaN, so there is nothing to draw: the model has diverged; "
            "use an earlier checkpoint or train with a smaller learning rate."
        )
    return images.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


class _Layout:
    """The texts of a grid, and where they and the cells are, in pixels."""

    def __init__(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        title: str,
        image: tuple[int, int],
        padding: int,
    ) -> None:
        height, width = image
        self.rows, self.columns, self.title, self.padding = rows, columns, title, padding
        self.font = ImageFont.load_default(max(13, min(height // 5, 24)))
        self.title_font = ImageFont.load_default(max(18, min(height // 4, 28)))
        row_width, row_height = _largest(rows, self.font)
        column_width, column_height = _largest(columns, self.font)
        self.title_width, title_height = _largest([title] if title else [], self.title_font)
        self.margin = max(padding, _GAP) if rows or columns or title else padding
        # Of the first cell.
        self.left = self.margin + (row_width + _GAP if rows else 0)
        self.top = self.margin + (title_height + _GAP if title else 0)
        self.top += column_height + _GAP // 2 if columns else 0
        self.cell_width, self.cell_height = max(width, column_width), max(height, row_height)

    def size(self, rows: int, columns: int) -> tuple[int, int]:
        """Height and width of the picture."""
        right = self.left + columns * (self.cell_width + self.padding) - self.padding
        bottom = self.top + rows * (self.cell_height + self.padding) - self.padding
        return bottom + self.margin, max(right, self.margin + self.title_width) + self.margin

    def middle(self, row: int, column: int) -> tuple[int, int]:
        """Centre (x, y) of a cell."""
        x = self.left + column * (self.cell_width + self.padding) + self.cell_width // 2
        return x, self.top + row * (self.cell_height + self.padding) + self.cell_height // 2

    def write_texts(self, picture: Image.Image) -> None:
        """Title and labels."""
        write = partial(ImageDraw.Draw(picture).multiline_text, fill=_INK, spacing=_LINE_GAP)
        if self.title:
            write((self.margin, self.margin), self.title, font=self.title_font)
        for row, label in enumerate(self.rows):
            at = (self.left - _GAP, self.middle(row, 0)[1])
            write(at, label, font=self.font, anchor="rm", align="right")
        for column, label in enumerate(self.columns):
            at = (self.middle(0, column)[0], self.top - _GAP // 2)
            write(at, label, font=self.font, anchor="md", align="center")


def _largest(
    texts: Sequence[str], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> tuple[int, int]:
    """Width and height to reserve for a text; the height does not depend on its descenders."""
    if not texts:
        return 0, 0
    draw = ImageDraw.Draw(Image.new("L", (1, 1)))
    line = draw.textbbox((0, 0), "Ag", font=font)[3] + _LINE_GAP
    boxes = [draw.multiline_textbbox((0, 0), text, font=font, spacing=_LINE_GAP) for text in texts]
    lines = max(text.count("\n") + 1 for text in texts)
    return math.ceil(max(box[2] for box in boxes)), math.ceil(line * lines - _LINE_GAP)
