"""Local parquet files with an image column, streamed without a copy on disk.

Not through ``datasets.load_dataset``: for local files, too, it reports to the hub that it was
called, which an offline machine waits seconds for, and it takes names with ``[`` for patterns.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Features
from pyarrow import ArrowException

from genrev.data.folder import file_identity
from genrev.data.source import Record, Source
from genrev.data.splits import files_of_split
from genrev.data.table import ROWS_AT_ONCE, Columns, Rows, find_columns, table_records
from genrev.errors import GenrevError

__all__ = ["parquet_source"]


def _inspect(path: Path) -> tuple[int, list[str]]:
    """Read the number of rows and the names of the columns."""
    try:
        return pq.read_metadata(path).num_rows, pq.read_schema(path).names
    except (ArrowException, OSError) as error:
        raise GenrevError(
            f"{path} cannot be read as a parquet file; it may be cut off, so copy it again"
        ) from error


def _count_rows(root: Path, files: list[Path]) -> int:
    """Add up the rows of files that must have the same columns."""
    rows, columns = zip(*(_inspect(path) for path in files), strict=True)
    for path, names in zip(files, columns, strict=True):
        if sorted(names) != sorted(columns[0]):
            raise GenrevError(
                f"the columns of {files[0]} and {path} differ, so they are not one data set; "
                "name the folder or the file of one"
            )
    if not sum(rows):
        raise GenrevError(f"{root} has no rows; name parquet files with images in them")
    return sum(rows)


def _batches(path: Path, columns: Columns) -> Iterator[Rows]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns.names):
            yield batch.to_pydict()


def _records(files: list[Path], columns: Columns) -> Iterator[Record]:
    for path in files:
        yield from table_records(_batches(path, columns), columns, str(path))


def parquet_source(root: Path, split: str, label: str | None, files: list[Path]) -> Source:
    """Open a split of one or more parquet files.

    Files of a folder whose name, or whose folder's name, begins with ``train``, ``test``,
    ``validation``, ``valid`` or ``val`` are the splits. If none is called so, and for a single
    file given by its path, all rows serve as every split.

    Args:
        root: The folder, or the file.
        split: Which split.
        label: Name of the label column; None takes ``label`` if there is one.
        files: The parquet files of the folder, or the file, sorted.

    Raises:
        GenrevError: If a file is damaged, or there is no such split, no image column or no such
            label column.
    """
    chosen = files_of_split(root, files, split)
    total = _count_rows(root, chosen)
    # The features are those the `datasets` library left in the file, or derived from its types.
    features = Features.from_arrow_schema(pq.read_schema(chosen[0]))
    columns = find_columns(features, label, str(chosen[0]))
    return Source(
        name=root.resolve().stem if root.is_file() else root.resolve().name,
        identity=file_identity(root.parent if root.is_file() else root, chosen),
        records=partial(_records, chosen, columns),
        total=total,
        class_names=columns.class_names,
        label_required=label is not None,
    )
