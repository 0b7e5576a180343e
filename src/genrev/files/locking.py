"""A folder that several files are written into belongs to one process at a time.

The lock is the system's (``flock``), which ends with the process that has it; the locked file,
``.lock``, tells who that is, and goes with the lock. Where a file system has no locks (some mounts
of Lustre, Windows), that file alone decides, as long as its process runs.
"""

import errno
import json
import os
import socket
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from genrev.errors import GenrevError
from genrev.files.paths import quoted, writing
from genrev.files.readers import read_json_object
from genrev.files.writing import write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
NAME_ANOTHER = "name another folder with --out"
_BOOT = "sys/kernel/random/boot_id"  # another one after every start
_SETTLED = 0.2  # seconds in which a rename of another process reaches this one
_open: set[int] = set()


def _close_in_child() -> None:
    """A process that is forked off shares the lock, and would keep it when its parent has died."""
    for number in _open:
        with suppress(OSError):
            os.close(number)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class _InUseError(Exception):
    """Somebody else has the lock."""


@contextmanager
def locked(
    folder: Path,
    cure: str = "wait until it has ended",
    unwritable: str | None = None,
    name: str = LOCK_FILE,
) -> Iterator[None]:
    """Have a folder, or its part ``name``, to oneself; it is made, and goes if it stays empty."""
    path, owner, made = folder / name, os.getpid(), not folder.exists()
    with writing(folder, unwritable):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = _acquire(path)
        except _InUseError as error:
            elsewhere = _owner(path).get("host") not in (None, socket.gethostname())
            gone = f" (where that machine is down, delete {path})" if elsewhere else ""
            raise GenrevError(f"{_story(path, 'is')}; {cure}{gone}.") from error
    try:
        yield
    finally:
        if os.getpid() == owner:  # what was forked off has no say
            with suppress(OSError):
                path.unlink()
            _open.discard(handle)
            with suppress(OSError):
                os.close(handle)
            with suppress(OSError):  # there is something in it
                if made:
                    folder.rmdir()


def require_unlocked(folder: Path, cure: str = "wait until it has ended") -> None:
    """Raise ``GenrevError`` where another process has the folder at the moment."""
    if (folder / LOCK_FILE).is_file():
        with locked(folder, cure):
            pass


def _acquire(path: Path) -> int:
    """Open and lock the file, and write down who has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            decided = _lock(handle)
            if decided and not _is_at(handle, path):
                os.close(handle)  # its owner removed it meanwhile
                continue
            before, mine = _owner(path), _this_process()
            if decided:
                if before and before.get("host") != mine["host"]:
                    warnings.warn(f"{_story(path, 'was')}, which has ended.", stacklevel=4)
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(mine).encode(), 0)
            else:
                _claim(path, before, mine)
        except BaseException:
            os.close(handle)
            raise
        _open.add(handle)
        return handle


def _lock(handle: int) -> bool:
    """Whether the system decided that the file is ours; False where it knows no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise _InUseError from error
        return False


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _claim(path: Path, before: dict[str, Any], mine: dict[str, Any]) -> None:
    """Without locks: of several that rename a file of theirs to this one, the last has it."""
    if before and _runs(before):
        raise _InUseError
    write_text(path, json.dumps(mine))
    time.sleep(_SETTLED)
    if _owner(path).get("token") != mine["token"]:
        raise _InUseError


def _runs(owner: dict[str, Any]) -> bool:
    """Whether the process of a lock file runs, as far as this machine can tell."""
    if owner.get("host") != socket.gethostname() or _started(os.getpid()) is None:
        return True
    now = (_system(_BOOT), _started(owner.get("pid")))
    return (owner.get("boot"), owner.get("started")) == now


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "boot": _system(_BOOT),
        "started": _started(os.getpid()),
        "token": uuid.uuid4().hex,
    }


def _system(name: str) -> str | None:
    """What Linux tells in a file of /proc; ``None`` where there is none."""
    with suppress(OSError):
        return Path(f"/proc/{name}").read_text(encoding="utf-8", errors="replace").strip()
    return None


def _started(pid: object) -> str | None:
    """When a running process was started, which tells it from a later one of its number."""
    stat = _system(f"{pid}/stat")
    return stat and stat.rpartition(")")[2].split()[19]


def _owner(path: Path) -> dict[str, Any]:
    """What the file of a lock tells; empty where it tells nothing."""
    try:
        return read_json_object(path, largest=4096)
    except (OSError, ValueError):
        return {}


def _story(path: Path, verb: str) -> str:
    told = _owner(path)
    host, pid, since = (str(told.get(key, "?"))[:80] for key in ("host", "pid", "since"))
    who = f"process {pid} on {host} since {since}" if told else "another process"
    return f"{path.parent} {verb} in use by {who}"


def require_free(folder: Path, held: bool = False) -> None:
    """Raise ``GenrevError`` if something is in a new run's folder; ``held``: by this process."""
    taken = folder.exists()
    if folder.is_dir():
        taken = any(path.name != LOCK_FILE for path in folder.iterdir())
    if taken and not held:
        require_unlocked(folder, NAME_ANOTHER)
    if taken:
        onward = ""
        if any(folder.glob("*.yaml")):  # those of a run, or of several by --seeds
            onward = f", or go on with it by `genrev resume {quoted(folder)}`"
        raise GenrevError(f"{folder} exists already and is kept as it is; {NAME_ANOTHER}{onward}.")


def is_first_process() -> bool:
    """Whether this is rank 0, by what torchrun, SLURM or Lightning have put in the environment."""
    if "RANK" in os.environ:  # torchrun's; its LOCAL_RANK is 0 once on every machine
        return os.environ["RANK"] == "0"
    # SLURM_PROCID is 0 in all processes that Lightning starts within an interactive job.
    places = ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(place, "0") == "0" for place in places)
