"""Paths as people write them and as they are printed, and what lies in a folder."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from genrev.errors import GenrevError

_OF_THE_SYSTEM = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir"))


def expand(path: str | os.PathLike[str], name: str = "") -> Path:
    """The path that is meant: ``~`` and ``~user`` are home folders, ``./~`` and all else is not."""
    text = os.fspath(path)
    if not text.startswith("~"):
        plain = Path(text)
        return Path.cwd() / plain if str(plain).startswith("~") else plain
    user = Path(text).parts[0].removeprefix("~")
    try:
        if not user and os.environ.get("HOME") == "":
            raise RuntimeError("the home folder has no name")
        return Path(text).expanduser()
    except RuntimeError as error:
        given, whose = f"{name} {text}".strip(), user or "this user"
        cure = "" if user else "set the environment variable HOME, or "
        raise GenrevError(
            f"{given} is below the home folder of {whose}, who has none here; {cure}write the path "
            "in full."
        ) from error


def quoted(path: str | os.PathLike[str]) -> str:
    """The path as a shell and ``genrev`` take it, for a command that is printed to be typed."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith(("-", "~")) else text)


@contextmanager
def writing(path: Path, cure: str | None = None) -> Iterator[None]:
    """Within it, a file system that refuses to write is one sentence, which ends with the cure."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        cure = cure or "see that there is room, and that you may write there"
        raise GenrevError(f"{path} cannot be written ({reason(error)}); {cure}.") from error


def reason(error: BaseException) -> str:
    """Why something failed, short and printable, for messages may quote a stranger's file."""
    told = getattr(error, "strerror", None) or str(error).rpartition("I/O error: ")[2]
    lines = str(told).partition(" (os error")[0].strip().splitlines() or [type(error).__name__]
    return "".join(c for c in lines[0][:200] if c.isprintable()).rstrip(". ")


def list_files(root: Path) -> list[Path]:
    """All files below ``root`` but hidden ones, sorted, or ``root`` itself if it is a file."""
    found = [root] if root.is_file() else _walk(root, frozenset())
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is passed over without a word."""
    return name.startswith((".", "__MACOSX")) or name.lower() in _OF_THE_SYSTEM


def _walk(folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    try:
        stat = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        raise GenrevError(
            f"The folder {folder} cannot be read [{error.strerror or error}]; "
            "allow it to be read, or take it out of the data."
        ) from error
    own = (stat.st_dev, stat.st_ino)
    if own in above:  # a link that leads back
        return
    for entry in entries:
        if is_hidden(entry.name):
            continue
        # Links last, for they cost a look at the disk each.
        path = folder / entry.name
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            yield from _walk(path, above | {own})
        else:
            yield path
