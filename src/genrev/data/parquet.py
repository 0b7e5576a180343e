"""Local parquet files with an image column, streamed without a copy on disk.

Not through ``datasets.load_dataset``: for local files, too, it reports to the hub that it was
called, which an offline machine waits seconds for, and it takes names with ``[`` for patterns.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import ArrowException

from genrev.data.files import file_identity
from genrev.data.source import Inventory, Record, Source
from genrev.data.splits import choose_split, split_files
from genrev.data.table import ROWS_AT_ONCE, Columns, Rows, features_in, find_columns, table_records
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


def count_rows(path: Path) -> int | None:
    """Rows of a file of another split, which nobody wants to hear the faults of."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (ArrowException, OSError):
        return None


def parquet_source(
    root: Path, split: str, label: str | None, files: list[Path], others: list[Path]
) -> Source:
    """Open a split of one or more parquet files; see ``genrev.data.splits`` for what a split is.

    All rows of a single file that is given by its path serve as every split.

    Args:
        root: The folder, or the file.
        split: Which split.
        label: Name of the label column, ``none`` for none; None takes the usual one.
        files: The parquet files of the folder, or the file, sorted.
        others: Other files of the folder, which are not read.

    Raises:
        GenrevError: If a file is damaged, or there is no such split, no image column or no such
            label column.
    """
    splits = split_files(root, files, tables=True)
    name, placed = choose_split(splits, split, root)
    chosen = [path for path, _ in placed]
    total = _count_rows(root, chosen)
    # The features are those the `datasets` library left in the file, or derived from its types.
    columns = find_columns(features_in(pq.read_schema(chosen[0])), label, str(chosen[0]))
    return Source(
        name=root.resolve().stem if root.is_file() else root.resolve().name,
        identity=file_identity(root.parent if root.is_file() else root, chosen),
        records=partial(_records, chosen, columns),
        total=total,
        class_names=columns.class_names,
        label_required=columns.required,
        inventory=Inventory(
            splits={
                other: total if other == name else _total([path for path, _ in paths])
                for other, paths in splits.items()
                if other
            },
            total=total,
            kind="parquet",
            skipped=tuple(path.relative_to(root).as_posix() for path in others),
            note=columns.note,
        ),
    )


def _total(files: list[Path]) -> int | None:
    counts = [count_rows(path) for path in files]
    return None if None in counts else sum(count for count in counts if count)
