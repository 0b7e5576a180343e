"""Tables with an image column and perhaps a label column: parquet files, here or on the hub.

``datasets.load_dataset`` would ask the hub for local files too, and takes ``[`` for a pattern.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Features, Image, Value
from huggingface_hub import HfFileSystem
from pyarrow import ArrowException

from genrev.data.config import DataConfig
from genrev.data.labels import NO_LABELS
from genrev.data.shards import ShardIndex, Shards, inspect_all, number_blocks, stored_index
from genrev.data.sources import Record, Source
from genrev.data.sources.folder import FileSource
from genrev.errors import GenrevError

_REMOTE = "hf://"
_BYTES_AT_ONCE = 1 << 20  # without a bound, pyarrow reads the column of a row group whole

Rows = dict[str, list]  # some consecutive rows: a list of values per column


class Columns(NamedTuple):
    """The two columns that are read."""

    image: str
    label: str | None = None


class Parquet(FileSource):
    """Local parquet files."""

    def __init__(self, config: DataConfig, split: str) -> None:
        super().__init__(config)
        self.find_by_ending(".parquet", split)
        self.paths = list(map(str, self.files))
        if not config.streaming:  # else the index tells
            found = _inspect_all(self.paths, None, str(self.path))
            self.total = sum(sum(file.rows) for file in found)
            self.splits = {name: self._count(name) for name in self.splits}
        self.columns = choose_columns(self, features_of(self.paths[0]), self.paths[0])

    def records(self) -> Iterator[Record]:
        """The rows, file after file."""
        wanted = [name for name in self.columns if name]
        for path in self.paths:
            batches = _batches(path, wanted, 256)
            yield from table_records(batches, self.columns, path)

    def shards(self) -> Shards:
        """The row groups."""
        return parquet_shards(self, self.paths, self.columns, self.identity, self.content())

    def _count(self, split: str) -> int | None:
        """Rows of a split; the faults of another one than this nobody wants to hear."""
        if split == self.split:
            return self.total
        try:
            return sum(int(pq.read_metadata(path).num_rows) for path, _ in self.groups[split])
        except Exception:  # of pyarrow, whose kinds are several
            return None


def parquet_shards(
    source: Source,
    paths: Sequence[str],
    columns: Columns,
    identity: Mapping[str, object],
    content: object,
) -> Shards:
    """Open files, here or at ``hf://``, to be streamed: footers and label columns are read once."""
    build = partial(_index, source, paths, columns)
    index = stored_index(source.name, identity, columns.label, source.config.cache, build)
    return Shards(content, index, partial(_read, paths, index, columns.image))


def features_of(path: str) -> Features:
    """Columns and their types, as the ``datasets`` library left them or derived from the file."""
    with _reading(path):
        schema = _footer(path).schema.to_arrow_schema()
        categories = pa.types.is_dictionary  # which datasets does not know
        plain = [f.with_type(f.type.value_type) if categories(f.type) else f for f in schema]
        return Features.from_arrow_schema(pa.schema(plain, schema.metadata))


def choose_columns(source: Source, features: Features, where: str) -> Columns:
    """Choose the columns of images and (named, usual, or alone in having classes) of labels."""
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
    usual = [n for n in ("label", "labels") if isinstance(features.get(n), Value | ClassLabel)]
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


class _Inspected(NamedTuple):
    """Columns of a file, rows of each of its row groups, and labels if it has their column."""

    columns: list[str]
    rows: list[int]
    labels: list[object]


def _inspect_all(paths: Sequence[str], label: str | None, name: str) -> list[_Inspected]:
    found = inspect_all(partial(_inspect, label=label), paths, name)
    for path, file in zip(paths, found, strict=True):
        if sorted(file.columns) != sorted(found[0].columns):
            raise GenrevError(
                f"The columns of {paths[0]} and {path} differ, so they are not one data set; "
                "name the folder or the file of one."
            )
    if not any(sum(file.rows) for file in found):
        raise GenrevError(f"{name} has no rows; name parquet files with images in them.")
    return found


def _inspect(path: str, label: str | None) -> _Inspected:
    with _reading(path):
        footer = _footer(path)
        groups = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
        names = footer.schema.to_arrow_schema().names
        labels: list[object] = []
        if label is not None and label in names:
            with _open(path) as file:
                labels = file.read(columns=[label]).column(0).to_pylist()
    return _Inspected(names, groups, labels)


def _index(source: Source, paths: Sequence[str], columns: Columns) -> ShardIndex:
    found = _inspect_all(paths, columns.label, source.name)
    blocks = number_blocks(file.rows for file in found)
    raw = [label for file in found for label in file.labels] or [None] * int(blocks[:, 3].sum())
    labels, names = source.encode(raw)
    return ShardIndex(blocks, labels, names, np.zeros((0, 2), np.int64))


def _open(path: str) -> pq.ParquetFile:
    if not path.startswith(_REMOTE):
        return pq.ParquetFile(path, buffer_size=_BYTES_AT_ONCE)
    file, footer = HfFileSystem().open(path), _remote_footer(path)
    return pq.ParquetFile(file, metadata=footer, buffer_size=_BYTES_AT_ONCE)


@lru_cache(64)
def _remote_footer(path: str) -> pq.FileMetaData:
    """Description of a file on the hub, whose address names a commit: it does not change."""
    with HfFileSystem().open(path) as file:
        return pq.read_metadata(file)


def _footer(path: str) -> pq.FileMetaData:
    return _remote_footer(path) if path.startswith(_REMOTE) else pq.read_metadata(path)


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of pyarrow, or of the client of the hub
        told = "as a parquet file; it may be cut off, so copy it again"
        if path.startswith(_REMOTE):
            why = str(error).strip().partition("\n")[0]
            told = f"[{why}]; when the network is back, start again or go on with `genrev resume`"
        raise GenrevError(f"{path} cannot be read {told}.") from error


def _batches(
    path: str, columns: list[str], rows: int, group: int | None = None, start: int = 0
) -> Iterator[Rows]:
    """Go through some columns of a file or of one row group, from a row of it on."""
    # Of a file here, `table_records` tells the row.
    with _reading(path) if path.startswith(_REMOTE) else nullcontext(), _open(path) as file:
        for batch in file.iter_batches(rows, None if group is None else [group], columns):
            if start < batch.num_rows:
                yield batch.slice(start).to_pydict()
            start = max(start - batch.num_rows, 0)


def _read(
    paths: Sequence[str], index: ShardIndex, image: str, block: int, start: int
) -> Iterator[Record]:
    """Go through the images of a block from a row of it on."""
    number, group, first, _ = (int(n) for n in index.blocks[block])
    batches = _batches(paths[number], [image], 32, group, start)  # a lane holds so many twice
    return table_records(batches, Columns(image), paths[number], first + start)


def _image_column(features: Features, where: str) -> str:
    typed = [name for name, feature in features.items() if isinstance(feature, Image)]
    usual = [name for name in ("image", "img") if name in (typed or features)]
    if usual or typed:
        return (usual or typed)[0]
    raise GenrevError(
        f"{where} has no image column, only {', '.join(features)}; "
        'it needs a column "image" with the bytes of image files.'
    )


def _unread(features: Features, image: str) -> str | None:
    """Whatever labels there may be are in other columns: say so, rather than drop them silently."""
    others = [name for name in features if name != image]
    shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    note = f"no column of labels among {shown} (to take one, name it as label)"
    return note if others else None


def _content(value: object) -> Path | bytes:
    """The bytes of an image file, or else its path, out of what the column holds."""
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
        value = data if data is not None or path is None else Path(path)
    # An empty cell becomes an empty file, which the decoder reports by its row.
    return value if isinstance(value, bytes | Path) else b""
