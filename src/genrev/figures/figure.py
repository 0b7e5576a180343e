"""What a figure of a run is, how all of them are drawn, and how pictures are written to files.

A figure is a function from a ``FigureRun`` to pictures by the names of their files; it gives none
where the run has nothing to draw. The guide to extending genrev has an example of one of your own.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image
from torch import Tensor

from genrev.errors import GenrevError
from genrev.files.paths import expand, writing
from genrev.files.writing import write_bytes
from genrev.models.checks import class_names_of
from genrev.models.inference import GenerativeAutoencoder
from genrev.registry import Registry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from genrev.data import ImageData  # it takes time to import

Picture: TypeAlias = "Image.Image | Figure | bytes"  #: Bytes are a file's, such as an animation's.

_BOTH = (".png", ".jpg", ".jpeg", ".webp")
_PICTURE_FORMATS, _PLOT_FORMATS = (*_BOTH, ".gif", ".pdf"), (*_BOTH, ".pdf", ".svg")
_OPTIONS: dict[str, Any] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
_DPI = 150
_LONGEST_NAME = 24


@dataclass
class FigureRun:
    """What the figures of a run are drawn of."""

    model: GenerativeAutoencoder
    data: "ImageData"  #: Images to show, of the model's shape.
    train: "ImageData | None" = None  #: The training images, as far as they are at hand.
    seed: int = 0  #: Of samples, and of dimensions chosen at random.
    dims: Sequence[int] | None = None  #: To traverse; ``choose_dims`` says what ``None`` means.
    widest: bool = False  #: Whether to traverse the widest dimensions, of a model without classes.
    samples: Path | None = None  #: Folder of the sample sheets of the training.
    metrics: Path | None = None  #: ``metrics.csv`` of the training.
    frechet: tuple[str | None, int | None] = (None, None)  #: Features and samples of ``frechet``.

    @cached_property
    def images(self) -> Tensor:
        """The first 20 images, classes in turn, float (n, C, H, W)."""
        return self.data.tensor(classes_in_turn(self.data, 20))


_OWN = {
    "samples": "pictures:draw_samples",
    "reconstructions": "pictures:draw_reconstructions",
    "interpolations": "pictures:draw_interpolations",
    "traversals": "traversals:draw_traversals",
    "dimensions": "dimensions:draw_dimensions",
    "planes": "traversals:draw_planes",
    "progress": "progress:draw_progress",
    "losses": "curves:draw_losses",
    "stability": "curves:draw_stability",
    "neighbours": "pictures:draw_neighbours",
}
FIGURES: Registry[Callable[[FigureRun], Mapping[str, Picture]]] = Registry(
    "figure", {name: f"genrev.figures.{place}" for name, place in _OWN.items()}
)
"""The figures of a run by name, in the order in which they are drawn."""


def draw_figures(run: FigureRun, folder: str | Path) -> Iterator[Path]:
    """Draw what suits a run into a folder, yielding each written path; GenrevError if it fails."""
    for name in FIGURES:
        for file, picture in FIGURES[name](run).items():
            yield save_image(picture, expand(folder) / file)


def classes_in_turn(data: "ImageData", n: int) -> list[int]:
    """Positions of the first n images, classes in turn, so that a few images show many classes."""
    seen = dict.fromkeys(range(data.num_classes), 0)
    turns = []
    for label in data.labels.tolist():
        turns.append(seen[label])  # this image is its class's first, second, ...
        seen[label] += 1
    return sorted(range(len(data)), key=lambda i: (turns[i], int(data.labels[i])))[:n]


def class_name(model: GenerativeAutoencoder, label: int) -> str:
    """A class in a figure: its name, shortened, or its number where the font lacks the letters."""
    names = class_names_of(model)
    name = " ".join(names[label].split()) if names else ""
    if not name or not (name.isascii() and name.isprintable()):
        return str(label)
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def save_image(image: Picture, path: str | Path) -> Path:
    """Save a picture or a plot; the extension of ``path``, which is returned, names the format.

    Pictures can be png, jpg, webp, gif and pdf, plots png, jpg, webp, pdf and svg. Missing
    folders are created.

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
    if isinstance(image, bytes):
        return write_file(path, image)
    plot, suffix = not isinstance(image, Image.Image), path.suffix.lower()
    kind, formats = ("plot", _PLOT_FORMATS) if plot else ("picture", _PICTURE_FORMATS)
    if suffix not in formats:
        raise GenrevError(
            f"Cannot save a {kind} as '{path}': the name must end in one of {', '.join(formats)}."
        )
    buffer = io.BytesIO()
    if not isinstance(image, Image.Image):
        image.savefig(buffer, format=suffix[1:], dpi=_DPI)
        return write_file(path, buffer.getvalue())
    name = "JPEG" if suffix == ".jpg" else suffix[1:].upper()
    try:
        image.save(buffer, format=name, **_OPTIONS.get(name, {}))
    except (OSError, ValueError) as error:  # what Pillow raises past the size limit of a format
        raise GenrevError(
            f"Cannot save a picture of {image.width}x{image.height} pixels as '{path}' "
            f"({error}); use the extension .png or draw fewer images."
        ) from error
    return write_file(path, buffer.getvalue())


def write_file(path: Path, data: bytes) -> Path:
    """Write a file, whole or not at all; missing folders are created."""
    with writing(path, "name a file in a folder that you may write to and that has room"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    return path


def panels(
    rows: int, columns: int, count: int, size: tuple[float, float], sharey: bool = False
) -> "tuple[Figure, list[Axes]]":
    """A plot of so many panels over one x-axis, in a grid; the rest of the grid stays empty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=sharey, squeeze=False).flatten()
    for axis in axes[count:]:
        axis.remove()
    return figure, list(axes[:count])
