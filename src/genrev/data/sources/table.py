"""Tables with an image column and perhaps a label column, from parquet files or the hub."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
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


@dataclass(frozen=True)
class Columns:
    """The two columns that are read, and the names of the classes if the table declares them."""

    image: str
    label: str | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the one or two columns."""
        return [self.image, *([self.label] if self.label else [])]


def features_in(schema: pa.Schema) -> Features:
    """Columns and their types, as the ``datasets`` library left them or derived from the file."""
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return Features.from_arrow_schema(pa.schema(plain, schema.metadata))


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
    column = label or _usual_label(features)
    if column is None:
        source.note = _unread(features, image)
        return Columns(image)
    kind = features[column]
    source.class_names = tuple(kind.names) if isinstance(kind, ClassLabel) else None
    return Columns(image, column, source.class_names)


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


def _usual_label(features: Features) -> str | None:
    named = [n for n in _USUAL_LABEL_COLUMNS if isinstance(features.get(n), Value | ClassLabel)]
    declared = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    return named[0] if named else declared[0] if len(declared) == 1 else None


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
