"""Parquet files as shards, here or on the hub. A block is a row group."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from datasets import Features
from huggingface_hub import HfFileSystem

from genrev.data.labels import UNLABELLED, encode_labels
from genrev.data.source import Record
from genrev.data.streaming.inspection import inspect_all
from genrev.data.streaming.shards import ShardIndex
from genrev.data.table import Columns, Rows, features_in, table_records
from genrev.errors import GenrevError

__all__ = ["features_of", "parquet_index", "read_parquet"]

REMOTE = "hf://"
ROWS_AT_ONCE = 32  # each lane of a stream holds so many twice
BYTES_AT_ONCE = 1 << 20  # without a bound, pyarrow reads the column of a row group whole
KEPT_FOOTERS = 64


class _Inspected(NamedTuple):
    """What a file tells about itself."""

    columns: list[str]
    rows: list[int]
    """Of each row group."""
    labels: list[object]
    """Empty without a label column."""


def _open(path: str) -> pq.ParquetFile:
    if not path.startswith(REMOTE):
        return pq.ParquetFile(path, buffer_size=BYTES_AT_ONCE)
    file = HfFileSystem().open(path)
    return pq.ParquetFile(file, metadata=_remote_footer(path), buffer_size=BYTES_AT_ONCE)


@lru_cache(KEPT_FOOTERS)
def _remote_footer(path: str) -> pq.FileMetaData:
    """Description of a file on the hub, whose address names a commit: it does not change."""
    with HfFileSystem().open(path) as file:
        return pq.read_metadata(file)


def _footer(path: str) -> pq.FileMetaData:
    return _remote_footer(path) if path.startswith(REMOTE) else pq.read_metadata(path)


def _unreadable(path: str, error: Exception) -> GenrevError:
    if path.startswith(REMOTE):
        reason = str(error).strip().partition("\n")[0]
        return GenrevError(
            f"{path} cannot be read [{reason}]; when the network is back, "
            "start again or go on with `genrev resume`"
        )
    return GenrevError(
        f"{path} cannot be read as a parquet file; it may be cut off, so copy it again"
    )


def features_of(path: str) -> Features:
    """Columns and their types, as the ``datasets`` library left them or derived from the file.

    Raises:
        GenrevError: If the file cannot be read.
    """
    try:
        return features_in(_footer(path).schema.to_arrow_schema())
    except Exception as error:  # of pyarrow, or of the client of the hub
        raise _unreadable(path, error) from error


def _inspect(path: str, label: str | None) -> _Inspected:
    try:
        footer = _footer(path)
        groups = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        names = footer.schema.to_arrow_schema().names
        labels: list[object] = []
        if label is not None and label in names:
            with _open(path) as file:
                labels = file.read(columns=[label]).column(0).to_pylist()
    except Exception as error:  # of pyarrow, or of the client of the hub
        raise _unreadable(path, error) from error
    return _Inspected(names, groups, labels)


def parquet_index(paths: Sequence[str], columns: Columns, name: str) -> ShardIndex:
    """Read the footers and the label column of files.

    Args:
        paths: Files here, or ``hf://`` addresses.
        columns: Which columns to take.
        name: How messages call the data.

    Raises:
        GenrevError: If a file cannot be read, columns differ, there are no rows, or labels
            cannot be used.
    """
    found = inspect_all(partial(_inspect, label=columns.label), paths, name)
    for path, file in zip(paths, found, strict=True):
        if sorted(file.columns) != sorted(found[0].columns):
            raise GenrevError(
                f"the columns of {paths[0]} and {path} differ, so they are not one data set; "
                "name the folder or the file of one"
            )
    blocks = [
        (number, group, end - rows, rows)
        for number, file in enumerate(found)
        for group, (rows, end) in enumerate(zip(file.rows, accumulate(file.rows), strict=True))
        if rows
    ]
    if not blocks:
        raise GenrevError(f"{name} has no rows; name parquet files with images in them")
    table = np.array(blocks, np.int64)
    labels = np.zeros(table[:, 3].sum(), np.int64)
    names: tuple[str, ...] = UNLABELLED
    if columns.label is not None:
        raw = [label for file in found for label in file.labels]
        labels, names = encode_labels(raw, name, columns.class_names, columns.required)
    return ShardIndex(table, labels, names, np.zeros((0, 2), np.int64))


def _batches(path: str, group: int, image: str, start: int) -> Iterator[Rows]:
    try:
        with _open(path) as file:
            batches = file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[image])
            for batch in batches:
                if start < batch.num_rows:
                    yield batch.slice(start).to_pydict()
                start = max(start - batch.num_rows, 0)
    except Exception as error:
        if path.startswith(REMOTE):  # whatever the client of the hub raises
            raise _unreadable(path, error) from error
        raise  # told by `table_records`, which knows the row


def read_parquet(
    paths: Sequence[str], index: ShardIndex, image: str, block: int, start: int
) -> Iterator[Record]:
    """Go through the images of a block from a row of it on.

    Raises:
        GenrevError: If the file is damaged or out of reach.
    """
    number, group, first, _ = (int(n) for n in index.blocks[block])
    batches = _batches(paths[number], group, image, start)
    return table_records(batches, Columns(image, None, None), paths[number], first + start)
