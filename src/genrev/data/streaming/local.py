"""Shards in a folder: parquet or tar files."""

from functools import partial
from pathlib import Path

from genrev.data.files import file_identity
from genrev.data.source import Inventory
from genrev.data.splits import choose_split, split_files
from genrev.data.streaming.parquet import features_of, parquet_index, read_parquet
from genrev.data.streaming.shards import Shards, stored_index
from genrev.data.streaming.tar import read_tar, tar_index
from genrev.data.table import find_columns
from genrev.errors import GenrevError

__all__ = ["TAR", "local_shards"]

TAR = ".tar"
PARQUET = ".parquet"
COMPRESSED = (".tgz", ".gz", ".bz2", ".xz", ".zst")


def local_shards(
    root: Path, split: str, label: str | None, cache: str | None, files: list[Path]
) -> Shards:
    """Open a split of the parquet files, or else of the tar files, among some files.

    Args:
        root: The folder, or the only file.
        split: Which split; see ``genrev.data.splits``.
        label: Column, or in tar files the ending of the members, that holds the class; None takes
            ``label``, or ``cls``, if there is one, ``none`` goes without.
        cache: As ``DataConfig.cache``.
        files: Files below the folder, sorted.

    Raises:
        GenrevError: If there are no such files, one is damaged, or there is no such split, no image
            or no such label.
    """
    tables = [path for path in files if path.suffix.lower() == PARQUET]
    archives = [path for path in files if path.suffix.lower() == TAR]
    if not tables and not archives:
        packed = any(path.suffix.lower() in COMPRESSED for path in files)
        cure = "unpack its compressed tar files" if packed else "leave streaming out"
        raise GenrevError(
            f"{root} cannot be streamed, for it has no .parquet or .tar files in it; {cure}, or "
            "name another source"
        )
    splits = split_files(root, tables or archives, tables=True)
    opened, placed = choose_split(splits, split, root)
    chosen = [path for path, _ in placed]
    paths = [str(path) for path in chosen]
    name = root.resolve().stem if root.is_file() else root.resolve().name
    identity = file_identity(root.parent if root.is_file() else root, chosen)
    store = partial(stored_index, name, identity, cache=cache)
    if tables:
        columns = find_columns(features_of(paths[0]), label, paths[0])
        index = store(columns.label, build=partial(parquet_index, paths, columns, name))
        read = partial(read_parquet, paths, index, columns.image)
        note = columns.note
    else:
        index = store(label, build=partial(tar_index, paths, name, label))
        read = partial(read_tar, paths, index)
        note = None
    rows = int(index.blocks[:, 3].sum())
    inventory = Inventory(
        # Of the others, tar files would have to be gone through to know.
        splits={split: rows if split == opened else None for split in splits if split},
        total=rows,
        kind="parquet" if tables else "tar files",
        skipped=tuple(
            path.relative_to(root).as_posix()
            for path in files
            if path.suffix.lower() != (PARQUET if tables else TAR)
        ),
        note=note,
    )
    # Neither the folder nor the times of the files: the same files elsewhere are the same data.
    content = [
        [
            path.relative_to(chosen[0].parent if root.is_file() else root).as_posix(),
            path.stat().st_size,
        ]
        for path in chosen
    ]
    return Shards(name, content, index, read, inventory)
