"""Between a command and its terminal: paths it is given, what it prints, and being told to end.

A command that is told to end clears up first: SIGTERM (of `kill`, a batch system, a container) and
SIGHUP (the terminal was closed) become exceptions, as Ctrl-C is one, and half-written files go.
Training and the explorer have better to do and take over while they run: a checkpoint, an answer.
"""

import argparse
import codecs
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from genrev.errors import GenrevError
from genrev.files.paths import expand

PATIENCE = 2.0  # seconds of silence
_NAMES = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_RULE = "genrev"
_BYTES = range(0xDC80, 0xDD00)  # how Python writes bytes of file names that are no text


def to_path(text: str) -> Path:
    """The type of an argument that is a path; ``~`` is a home folder, whatever the shell did."""
    try:
        return expand(text)
    except GenrevError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error


def name_or_path(text: str) -> str:
    """The type of an argument that may be the name of something else as well."""
    return str(to_path(text)) if text.startswith("~") else text


def add_path(
    parser: argparse.ArgumentParser, option: str, metavar: str, what: str, **more: Any
) -> None:
    """An argument that is a path, or with ``type=name_or_path`` may be one."""
    more.setdefault("type", to_path)
    parser.add_argument(option, metavar=metavar, help=what, **more)


def add_flag(parser: argparse.ArgumentParser, option: str, what: str) -> None:
    """An option without a value."""
    parser.add_argument(option, action="store_true", help=what)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option --json."""
    add_flag(parser, "--json", "print JSON")


def print_result(options: argparse.Namespace, values: Any, text: str) -> None:
    """Print the values as JSON, numbers as numbers, where --json asks for it, or else the text."""
    print(json.dumps(values, indent=2, allow_nan=False) if options.json else text)


def print_in_any_encoding() -> None:
    """From here on, characters that stdout or stderr do not have are written as escapes."""
    codecs.register_error(_RULE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # pythonw has no stream at all
        if reconfigure is not None:
            reconfigure(errors=_RULE)


def _escaped(error: UnicodeError) -> tuple[bytes | str, int]:
    """Bytes of file names as they are, so that a printed path is the file's; others escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    if all(ord(c) in _BYTES for c in bad):
        return bytes(ord(c) - 0xDC00 for c in bad), error.end
    return bad.encode("ascii", "backslashreplace").decode("ascii"), error.end


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say what is waited for, if it takes longer than that."""
    timer = threading.Timer(PATIENCE, lambda: print(f"{what} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class EndedBySignal(BaseException):
    """The process was told to end; no ``Exception``, so that nothing takes it for a failure.

    ``told`` is whether the user has been told already.
    """

    def __init__(self, number: int, told: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.told = number, told


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Within it, both signals raise ``EndedBySignal``; one that is ignored (`nohup`) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets the main thread alone handle signals
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # forked off from here: it has nothing to clear up
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in before:  # clearing up is not to be cut short by another
            signal.signal(other, signal.SIG_IGN)
        raise EndedBySignal(number)

    before: dict[int, Any] = {
        number: signal.signal(number, end)
        for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name))
        if signal.getsignal(number) == signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
