"""Items ahead of whoever takes them, made in a thread."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import NamedTuple, TypeVar

__all__ = ["prefetched"]

PATIENCE_SECONDS = 0.1

Item = TypeVar("Item")


class _End(NamedTuple):
    error: BaseException | None


def prefetched(items: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Go through ``items`` in a thread of its own, at most ``depth`` of them ahead.

    What goes wrong there is raised here, after the items before it. The thread ends with the
    items, or when this iterator is closed.

    Args:
        items: Used in that thread only.
        depth: Items that wait, 1 or more; one more is being made.
    """
    waiting: queue.Queue[Item | _End] = queue.Queue(depth)
    closed = threading.Event()
    thread = threading.Thread(
        target=_work, args=(items, waiting, closed), name="genrev prefetch", daemon=True
    )
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()
        thread.join()


def _work(
    items: Iterator[Item], waiting: "queue.Queue[Item | _End]", closed: threading.Event
) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(waiting, item, closed):
                return
    except BaseException as caught:  # is raised where the items are used
        error = caught
    _put(waiting, _End(error), closed)


def _put(waiting: "queue.Queue[Item | _End]", item: Item | _End, closed: threading.Event) -> bool:
    """Wait for a place in the queue; False when it will not be emptied any more."""
    while not closed.is_set():
        try:
            waiting.put(item, timeout=PATIENCE_SECONDS)
            return True
        except queue.Full:
            continue
    return False
