"""A cache of folders that are whole or absent, whoever writes and whoever is killed meanwhile.

An entry is built in a temporary folder and then renamed; who finds the name taken reads what is
there. What a killed process leaves, the next one to build something removes.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from genrev.errors import GenrevError
from genrev.files.paths import expand

_PREFIX = ".partial"
_DAMAGED = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError)

T = TypeVar("T")


def cache_folder(kind: str, root: str | None = None) -> Path:
    """The folder of the cache for things of one kind, below ``root`` or else ``$GENREV_CACHE``."""
    if folder := root or os.environ.get("GENREV_CACHE"):
        return expand(folder, "--data.cache" if root else "GENREV_CACHE") / kind
    try:
        return expand("~/.cache/genrev") / kind
    except GenrevError as error:
        raise GenrevError(
            "There is no home folder for the cache; set the environment variable GENREV_CACHE to a "
            "folder that can be written."
        ) from error


def cache_key(name: str, settings: Mapping[str, object]) -> str:
    """Name of an entry: a readable one and a hash of its settings, values that JSON can hold."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60]
    return f"{readable}-{digest[:24]}"


def open_or_build(
    root: Path, key: str, read: Callable[[Path], T], build: Callable[[Path], None]
) -> T:
    """Read an entry; where it is absent or damaged, ``build`` first fills an empty folder."""
    entry = root / key
    for _ in range(3):
        if not entry.exists():
            _build(entry, build)
        try:
            return read(entry)
        except _DAMAGED:
            _discard(entry)
    raise GenrevError(
        f"The cache entry {entry} is damaged each time it is written; "
        "set the environment variable GENREV_CACHE to a folder on another disk."
    )


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    partial = _temporary(entry.parent)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _sweep(entry.parent)
        partial.mkdir()
        build(partial)
        try:
            partial.rename(entry)
        except OSError:
            if not entry.exists():  # else another process was faster
                raise
    except OSError as error:
        raise GenrevError(
            f"The cache folder {entry.parent} cannot be written ({error.strerror or error}); "
            "set the environment variable GENREV_CACHE, or --data.cache where the run has one, to "
            "a folder that can, with enough space."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _discard(entry: Path) -> None:
    """Take an entry away at once, then delete it; another process may have done so already."""
    doomed = _temporary(entry.parent)
    with suppress(FileNotFoundError):
        entry.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _temporary(root: Path) -> Path:
    """A name that tells who works on it: ``.partial-PID-RANDOM-HOST``."""
    return root / f"{_PREFIX}-{os.getpid()}-{uuid.uuid4().hex[:12]}-{socket.gethostname()}"


def _sweep(root: Path) -> None:
    for partial in root.glob(f"{_PREFIX}-*-*-*"):
        with suppress(OSError, ValueError):  # just removed by another process, or not ours
            if _is_abandoned(partial):
                shutil.rmtree(partial, ignore_errors=True)


def _is_abandoned(partial: Path) -> bool:
    """Whether its process is gone, or (on another machine) nothing was written for a day."""
    _, number, _, host = partial.name.split("-", 3)
    pid = int(number)
    if host == socket.gethostname() and not _is_running(pid):
        return True
    newest = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
    return time.time() - newest > 24 * 3600


def _is_running(pid: int) -> bool:
    if os.name == "nt":  # there, signal 0 would end the process
        return True
    try:
        with suppress(PermissionError):  # somebody else's, but running
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
