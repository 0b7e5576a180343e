"""Which files and folders are splits: one rule for images, parquet, tar and the hub.

The split of a file is that of the outermost folder whose name means one: at the top by any word
(``seg_train``, ``val2017``), further down by the whole name (``cat/train``). Of parquet and tar
files a word in their own names (``train-00000-of-00002``) counts first. Folders that all files
share are ignored, unless called just like a split. One class may be called ``train``. What could be
read in two ways is refused: splits beside files of no split, and two names for one split.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from genrev.errors import GenrevError

_SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
}
_SPLIT_OF = {word: split for split, words in _SPLITS.items() for word in words}
_WORDS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")

Placed = tuple[Path, tuple[str, ...]]
"""A file, and the folders it is in: without those that all files share, and without the split's."""


def canonical_split(name: str) -> str:
    """``val`` and ``Dev`` are ``validation``, and so on; other names stay."""
    return _SPLIT_OF.get(name.lower(), name)


def find_split(
    splits: Collection[str], split: str, where: str, cure: str = "ask for one of these"
) -> str:
    """The split of the same name, or the only one that means the same; without any, ``split``."""
    if split in splits or not splits:
        return split
    alike = [name for name in splits if canonical_split(name) == canonical_split(split)]
    if len(alike) != 1:
        raise GenrevError(f'{where} has no split "{split}"; it has {", ".join(splits)}, so {cure}.')
    return alike[0]


def split_files(root: Path, files: Sequence[Path], *, tables: bool) -> dict[str, list[Placed]]:
    """Files (one or more, sorted) by split; by ``""`` where there are none or for a single file."""
    if root.is_file():
        return {"": [(file, ()) for file in files]}
    folders = [path.relative_to(root).parts[:-1] for path in files]
    shared = _shared(folders)
    folders = [names[shared:] for names in folders]
    marks = [_mark_of(path, names, tables) for path, names in zip(files, folders, strict=True)]
    known = [mark for mark in marks if mark]
    if not known or not (tables or _are_clear(marks, folders)):
        return {"": list(zip(files, folders, strict=True))}
    _require_all_marked(root, files, marks)
    _require_one_spelling(root, known)
    rests = [
        tuple(name for place, name in enumerate(names) if place != mark.place)
        for names, mark in zip(folders, known, strict=True)
    ]
    shared = _shared(rests)
    groups: dict[str, list[Placed]] = {split: [] for split in _SPLITS}
    for path, rest, mark in zip(files, rests, known, strict=True):
        groups[mark.split].append((path, rest[shared:]))
    return {split: group for split, group in groups.items() if group}


class _Mark(NamedTuple):
    """The name of a folder or file that means a split, by one of its words."""

    split: str
    name: str
    word: str
    place: int | None  # which of the folders it is; None for the file itself
    whole: bool  # whether it is called just like a split


def _mark(name: str, place: int | None) -> _Mark | None:
    words = [part for word in _WORDS.findall(name) for part in _CAMEL.split(word)]
    known = [word for word in words if word.lower() in _SPLIT_OF]
    splits = {canonical_split(word) for word in known}
    if len(splits) > 1 and (place is None or len(words) == len(known)):
        raise GenrevError(
            f'The name "{name}" means {" and ".join(sorted(splits))}, so it is not clear which '
            "split it is; rename it."
        )
    if len(splits) != 1:
        return None
    return _Mark(splits.pop(), name, known[0], place, whole=name == known[0])


def _mark_of(path: Path, folders: Sequence[str], tables: bool) -> _Mark | None:
    if tables and (mark := _mark(path.stem, None)):
        return mark
    marks = [_mark(name, place) for place, name in enumerate(folders)]
    return next((m for m in marks if m and (tables or m.whole or m.place == 0)), None)


def _shared(folders: Iterable[tuple[str, ...]]) -> int:
    """How many leading folders all share; if it is all of them, the last is that of the class."""
    unique = set(folders)
    first, last = min(unique), max(unique)
    pairs = zip(first, last, strict=False)
    count = len(list(takewhile(lambda p: p[0] == p[1] and p[0].lower() not in _SPLIT_OF, pairs)))
    return count - 1 if len(unique) == 1 and count == len(first) > 0 else count


def _are_clear(marks: list[_Mark | None], folders: list[tuple[str, ...]]) -> bool:
    """Whether names of folders of images are splits, and not classes that are called like them."""
    known = [mark for mark in marks if mark]
    if len({mark.split for mark in known}) > 1:
        return True
    if len(known) == len(marks):
        return any(mark.whole for mark in known)  # else steam_train, bullet_train
    classes = all(len(names) == 1 for names in folders)
    return not classes and any(mark.whole and mark.place == 0 for mark in known)


def _require_all_marked(root: Path, files: Sequence[Path], marks: list[_Mark | None]) -> None:
    beside = [path for path, mark in zip(files, marks, strict=True) if mark is None]
    if beside:
        splits = sorted({mark.name for mark in marks if mark})
        more = f" and {len(beside) - 1:,} more files" if len(beside) > 1 else ""
        raise GenrevError(
            f"{root} has folders or files called like splits, {_shown(splits)}, and beside them "
            f"{beside[0].relative_to(root)}{more} of no split; move or rename what does not belong "
            "together, or name as data the one folder that is meant."
        )


def _require_one_spelling(root: Path, marks: list[_Mark]) -> None:
    """Shards may be called train-0 and train-1, but one word for a split is enough."""
    for split in _SPLITS:
        of_split = [mark for mark in marks if mark.split == split]
        names = {mark.word if mark.place is None else mark.name: mark.name for mark in of_split}
        if len(names) > 1:
            raise GenrevError(
                f"{_shown(sorted(names.values()))} in {root} mean the same split, {split}; put "
                "them into one folder, or name as data the one that is meant."
            )


def _shown(names: list[str]) -> str:
    *names, last = names if len(names) < 5 else [*names[:3], "others"]
    return f"{', '.join(names)} and {last}" if names else last
