"""Tables with an image column and perhaps a label column, from parquet files or the hub."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from datasets import ClassLabel, Features, Image, Value
from pyarrow import ArrowException

from genrev.data.labels import NO_LABELS
from genrev.data.sources import Record, Source
from genrev.errors import GenrevError

_USUAL_IMAGE_COLUMNS = ("image", "img")
_USUAL_LABEL_COLUMNS = ("label", "labels")
_SHOWN_COLUMNS = 3

Rows = dict[str, list]
"""Some consecutive rows: a list of values per column."""


class Columns(NamedTuple):
    """The two columns that are read."""

    image: str
    label: str | None = None

    @property
    def names(self) -> list[str]:
        """Names of the one or two columns."""
        return [name for name in self if name]


def choose_columns(source: Source, features: Features, where: str) -> Columns:
    """Choose the image column and the label column, and tell the source what they say.

    The image column is the one of type image (``image`` if there are several), else one called
    ``image`` or ``img`` that holds the bytes of image files. The label column is the one that the
    user names, else one called ``label`` or ``labels``, else the only one whose classes the table
    declares; it holds a single value for each image.
    """
    label = source.config.label
    image = _image_column(features, where)
    if label == NO_LABELS:
        return Columns(image)
    if label is not None and label not in features:
        raise GenrevError(
            f'{where} has no label column "{label}"; its columns are {", ".join(features)}, '
            "so name one of these or leave label out."
        )
    source.label_required = label is not None
    usual = [n for n in _USUAL_LABEL_COLUMNS if isinstance(features.get(n), Value | ClassLabel)]
    declared = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    columns = [*filter(None, [label]), *usual, *(declared if len(declared) == 1 else [])]
    if not columns:
        source.note = _unread(features, image)
        return Columns(image)
    kind = features[columns[0]]
    source.class_names = tuple(kind.names) if isinstance(kind, ClassLabel) else None
    return Columns(image, columns[0])


def table_records(
    batches: Iterable[Rows], columns: Columns, where: str, row: int = 0
) -> Iterator[Record]:
    """Go through rows without decoding their images; messages count them from ``row``."""
    try:
        for batch in batches:
            images = batch[columns.image]
            labels = batch[columns.label] if columns.label else [None] * len(images)
            for image, label in zip(images, labels, strict=True):
                yield Record(f"row {row} of {where}", _content(image), label)
                row += 1
    except (ArrowException, OSError) as error:
        raise GenrevError(
            f"{where} cannot be read beyond row {row}; the file may be damaged, so fetch it again."
        ) from error


def _image_column(features: Features, where: str) -> str:
    typed = [name for name, feature in features.items() if isinstance(feature, Image)]
    usual = [name for name in _USUAL_IMAGE_COLUMNS if name in (typed or features)]
    if usual or typed:
        return (usual or typed)[0]
    raise GenrevError(
        f"{where} has no image column, only {', '.join(features)}; "
        'it needs a column "image" with the bytes of image files.'
    )


def _unread(features: Features, image: str) -> str | None:
    """Whatever labels there may be are in other columns: say so, rather than drop them silently."""
    others = [name for name in features if name != image]
    shown, rest = ", ".join(others[:_SHOWN_COLUMNS]), len(others) - _SHOWN_COLUMNS
    more = f" and {rest} more" if rest > 0 else ""
    note = f"no column of labels among {shown}{more} (to take one, name it as label)"
    return note if others else None


def _content(value: object) -> Path | bytes:
    """The bytes of an image file, or else its path, out of what the column holds."""
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        value = data if data is not None or path is None else Path(path)
    # An empty cell becomes an empty file, which the decoder reports by its row.
    return value if isinstance(value, bytes | Path) else b""
