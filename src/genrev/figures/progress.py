"""Samples through training: early artefacts and how they go away (Figure 3 of the paper).

While a run trains it keeps small sheets ``samples/step0000500.png``, always from the same noise. A
sheet is a grid of images of their own size, two pixels apart; a PNG text chunk tells how many it
has in how many columns, so that they can be cut out again.
"""

import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from genrev.errors import GenrevError
from genrev.figures.figure import FigureRun, Picture, write_file
from genrev.figures.grid import image_grid
from genrev.files.paths import expand
from genrev.models.checks import num_classes_of
from genrev.models.inference import GenerativeAutoencoder, inference

_PADDING = 2  # pixels between the images of a sheet
_CHUNK = "genrev-grid"  # name of the text chunk
_MAX_CLASSES = 16  # more classes than this are not lined up in columns
# No numbers, or they do not fit the size; pixels beyond what Pillow takes.
_WRONG_LAYOUT = (ValueError, TypeError, RuntimeError, Image.DecompressionBombError)
_LAST = 2000  # milliseconds the last frame of a GIF stays


def draw_progress(run: FigureRun) -> Mapping[str, Picture]:
    """The strip and the animation, where the training has kept sheets (Figure 3)."""
    if run.samples is None or not stored_sheets(run.samples):
        return {}
    return {"progress.png": progress_strip(run.samples), "progress.gif": _animation(run.samples)}


def write_sheet(
    model: GenerativeAutoencoder, folder: str | Path, step: int, n: int = 16, seed: int = 0
) -> Path:
    """Write ``folder/step{step:07d}.png``: the samples of ``model.sample(n)`` for this seed."""
    if n < 1 or step < 0:
        raise ValueError(f"a sheet needs n >= 1 and step >= 0; got n={n}, step={step}.")
    with inference(model):
        images = model.sample(n, generator=torch.Generator().manual_seed(seed))
    classes = num_classes_of(model)
    columns = min(classes, n) if 1 < classes <= _MAX_CLASSES else math.ceil(math.sqrt(n))
    layout = PngInfo()
    layout.add_text(_CHUNK, json.dumps({"images": n, "columns": columns}))
    buffer = io.BytesIO()
    image_grid(images, columns, _PADDING, scale=1).save(buffer, format="PNG", pnginfo=layout)
    return write_file(expand(folder) / f"step{step:07d}.png", buffer.getvalue())


def stored_sheets(folder: str | Path) -> dict[int, Path]:
    """Sheets in a folder by step, earliest first; empty where there is no such folder."""
    paths = expand(folder).glob("step*.png")
    steps = ((re.fullmatch(r"step(\d+)", path.stem), path) for path in paths)
    return dict(sorted((int(match[1]), path) for match, path in steps if match))


def progress_strip(folder: str | Path, rows: int = 8, columns: int = 10) -> Image.Image:
    """One row per step: the first images of its sheet, as large as in other figures.

    Of more than ``rows`` steps as many are taken at even distances, first and last among them.

    Raises:
        ValueError: less than one row or column.
        GenrevError: no sheets there, a file that is no sheet, or sheets of different images.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"a strip needs rows and columns; got {rows} and {columns}.")
    sheets = _read_sheets(folder, rows)
    columns = min(columns, *(len(images) for images, _ in sheets.values()))
    shown = torch.cat([images[:columns] for images, _ in sheets.values()])
    return image_grid(shown, columns, row_labels=[f"step {step:,}" for step in sheets])


def progress_gif(
    folder: str | Path, path: str | Path, frames: int = 40, duration: int = 200
) -> Path:
    """Write an endless animation with one frame per step, titled with the step.

    ``frames`` are chosen as in ``progress_strip`` and shown for ``duration`` milliseconds, the last
    one for two seconds. Each has the 256 colours that suit it best, with error diffusion.
    """
    path = expand(path)
    if frames < 1 or not 10 <= duration <= 655_350:
        raise ValueError(
            "a GIF needs at least one frame of 10 to 655350 milliseconds; "
            f"got frames={frames}, duration={duration}."
        )
    if path.suffix.lower() != ".gif":
        raise GenrevError(f"Cannot save an animation as '{path}': the name must end in .gif.")
    return write_file(path, _animation(folder, frames, duration))


def _animation(folder: str | Path, frames: int = 40, duration: int = 200) -> bytes:
    sheets = _read_sheets(folder, frames)
    pictures = [image_grid(*sheet, title=f"step {step:,}") for step, sheet in sheets.items()]
    width, height = max(p.width for p in pictures), max(p.height for p in pictures)
    drawn = []
    for picture, sheet in zip(pictures, sheets.values(), strict=True):
        beside = (0, 0, width - picture.width, height - picture.height)
        frame = ImageOps.expand(picture, beside, "white")
        if frame.mode != "L":  # else a palette of all 256 greys will do
            # The palette that suits the images, not enlarged: Pillow diffuses errors only towards
            # one that is given to it.
            small = image_grid(*sheet, scale=1)
            palette = small.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
            frame = frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        drawn.append(frame)
    first, *others = drawn
    durations, buffer = [duration] * len(others) + [_LAST], io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return buffer.getvalue()


def _read_sheets(folder: str | Path, at_most: int) -> dict[int, tuple[Tensor, int]]:
    """Images (N, C, H, W) and columns of the chosen steps."""
    stored = stored_sheets(folder)
    if not stored:
        raise GenrevError(
            f"There are no sample sheets step*.png in '{folder}'; name the folder samples of a run."
        )
    steps, gaps = list(stored), max(at_most - 1, 1)
    if len(steps) > at_most:  # the last, the first, and others at even distances
        places = [round(i * (len(steps) - 1) / gaps) for i in range(at_most)]
        steps = [steps[place] for place in places] if at_most > 1 else steps[-1:]
    sheets = {step: _read_sheet(stored[step]) for step in steps}
    shapes = {tuple(images.shape[1:]) for images, _ in sheets.values()}
    if len(shapes) > 1:
        raise GenrevError(
            f"The sample sheets in '{folder}' are of different images ({sorted(shapes)}); "
            "remove those of another run."
        )
    return sheets


def _read_sheet(path: Path) -> tuple[Tensor, int]:
    """The images (N, C, H, W) of a sheet, in [0, 1], and its columns."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)  # (H, W) or (H, W, 3)
            layout = json.loads(picture.info[_CHUNK])
        count, columns = int(layout["images"]), int(layout["columns"])
        rows = math.ceil(count / columns)
        grid = torch.tensor(pixels).reshape(*pixels.shape[:2], -1)[_PADDING:, _PADDING:]
        height, width = grid.shape[0] // rows, grid.shape[1] // columns
        cells = grid.reshape(rows, height, columns, width, -1)
        cells = cells[:, : height - _PADDING, :, : width - _PADDING]
        images = cells.permute(0, 2, 4, 1, 3).flatten(0, 1)  # (rows * columns, C, H, W)
        return images[:count].float() / 255, columns
    except (OSError, SyntaxError, LookupError, ArithmeticError, *_WRONG_LAYOUT) as error:
        raise GenrevError(
            f"'{path}' is no sample sheet that a genrev run has written ({error}); remove it."
        ) from error
