"""Tables with an image column and perhaps a label column, from parquet files or the hub."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets import ClassLabel, Features, Image
from pyarrow import ArrowException

from genrev.data.source import Record
from genrev.errors import GenrevError

__all__ = ["ROWS_AT_ONCE", "Columns", "Rows", "find_columns", "table_records"]

ROWS_AT_ONCE = 256
USUAL_IMAGE_COLUMNS = ("image", "img")

Rows = dict[str, list]
"""Some consecutive rows: a list of values per column."""


@dataclass(frozen=True)
class Columns:
    """The two columns that are read, and the class names where the table declares them."""

    image: str
    label: str | None
    class_names: tuple[str, ...] | None

    @property
    def names(self) -> list[str]:
        """Names of the one or two columns."""
        return [self.image, *([self.label] if self.label else [])]


def find_columns(features: Features, label: str | None, where: str) -> Columns:
    """Choose the image column and the label column of a table.

    The image column is the one of type image (``image`` if there are several), else one called
    ``image`` or ``img`` that holds the bytes of image files.

    Args:
        features: Columns and their types.
        label: Name of the label column; None takes ``label`` if there is one.
        where: How messages call the table.

    Raises:
        GenrevError: If there is no image column, or no column called ``label``.
    """
    typed = [name for name, feature in features.items() if isinstance(feature, Image)]
    candidates = typed or list(features)
    usual = [name for name in USUAL_IMAGE_COLUMNS if name in candidates]
    if not (usual or typed):
        raise GenrevError(
            f"{where} has no image column, only {', '.join(features)}; "
            'it needs a column "image" with the bytes of image files'
        )
    if label is not None and label not in features:
        raise GenrevError(
            f'{where} has no label column "{label}"; its columns are {", ".join(features)}, '
            "so name one of these or leave label out"
        )
    column = label or ("label" if "label" in features else None)
    kind = features[column] if column else None
    names = tuple(kind.names) if isinstance(kind, ClassLabel) else None
    return Columns((usual or typed)[0], column, names)


def _content(value: object) -> Path | bytes:
    """Take the bytes of an image file, or else its path, out of what the column holds."""
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        value = data if data is not None or path is None else Path(path)
    # An empty cell becomes an empty file, which the decoder reports by its row.
    return value if isinstance(value, bytes | Path) else b""


def table_records(
    batches: Iterable[Rows], columns: Columns, where: str, row: int = 0
) -> Iterator[Record]:
    """Go through a table without decoding its images.

    Args:
        batches: The table in groups of consecutive rows.
        columns: Which columns to take.
        where: How messages call the table.
        row: Number of the first row, for messages.

    Raises:
        GenrevError: If the files behind the table turn out to be damaged.
    """
    try:
        for batch in batches:
            images = batch[columns.image]
            labels = batch[columns.label] if columns.label else [None] * len(images)
            for image, label in zip(images, labels, strict=True):
                yield Record(f"row {row} of {where}", _content(image), label)
                row += 1
    except (ArrowException, OSError) as error:
        raise GenrevError(
            f"{where} cannot be read beyond row {row}; the file may be damaged, so fetch it again"
        ) from error
