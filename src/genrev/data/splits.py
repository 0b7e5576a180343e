"""Splits told by the names of files: ``train-00000-of-00002.parquet``, ``train/0000.tar``."""

import re
from collections import defaultdict
from pathlib import Path

from genrev.data.source import missing_split

__all__ = ["files_of_split"]

SPLIT_PREFIX = re.compile(r"(train|test|validation|valid|val(?![a-z]))", re.IGNORECASE)


def _split_of(path: Path, root: Path) -> str | None:
    for part in reversed(path.relative_to(root).parts):
        if match := SPLIT_PREFIX.match(part):
            return match.group(1).lower()
    return None


def files_of_split(root: Path, files: list[Path], split: str) -> list[Path]:
    """Choose the files of a split; all of them where no name tells of a split.

    A name tells of a split if the file or a folder that it is in begins with ``train``, ``test``,
    ``validation``, ``valid`` or ``val``.

    Args:
        root: The folder, or the only file, which serves as every split.
        files: Files below it.
        split: Which split.

    Raises:
        GenrevError: If there are splits, but not this one.
    """
    if root.is_file():
        return files
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if name := _split_of(path, root):
            groups[name].append(path)
    if not groups:
        return files
    if split not in groups:
        raise missing_split(f"the folder {root}", split, sorted(groups))
    return groups[split]
