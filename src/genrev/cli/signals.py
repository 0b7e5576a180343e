"""A command that is told to end clears up first.

Python turns Ctrl-C into an exception, which removes half-written files on its way out. SIGTERM (of
`kill`, of a batch system, of a container) and SIGHUP (the terminal was closed) end a process where
it stands instead, and leave them. Here both become an exception too. Training and the explorer
take over while they run, for they have something better to do: a checkpoint, a last answer.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["EndedBySignal", "signals_as_exceptions"]

_NAMES = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class EndedBySignal(BaseException):
    """The process was told to end; no ``Exception``, so that nothing takes it for a failure.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def signals_as_exceptions() -> Iterator[None]:
    """Within it, the two signals raise ``EndedBySignal`` in the main thread of this process.

    One that is ignored (`nohup`) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets the main thread alone handle signals
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != owner:  # forked off from here: it has nothing to clear up
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in before:  # clearing up is not to be cut short by another
            signal.signal(other, signal.SIG_IGN)
        raise EndedBySignal(number)

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before: dict[int, Any] = {
        number: signal.signal(number, end)
        for number in numbers
        if signal.getsignal(number) == signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
