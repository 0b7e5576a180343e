"""Progress of what takes long: a bar on a terminal, and a line now and then anywhere else.

Both go to standard error. A bar comes after a second and goes when the work is done; lines come
after three seconds and then ever more rarely, down to one a minute.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

FIRST, RAREST = 3.0, 60.0  # seconds before a line
_DELAY = 1.0  # seconds before a bar
_LINE = "{desc}: {n_fmt} of {total_fmt}, {elapsed} passed, {remaining} left{postfix}"
_LINE_WITHOUT_END = "{desc}: {n_fmt}, {elapsed} passed{postfix}"

T = TypeVar("T")


class Bar(tqdm):
    """How far some work is; ``update(n)`` counts on, and the end of a ``with`` block ends it.

    Args:
        desc: what is done, in a few words.
        total: how many there are to do, if that is known.
        unit: what is counted.
        initial: how many were done before.
        delay: seconds before a bar is drawn; lines wait at least ``FIRST``.
        leave: whether a bar stays when the work is done.
    """

    def __init__(
        self,
        desc: str,
        total: int | None = None,
        unit: str = "images",
        initial: int = 0,
        delay: float = _DELAY,
        leave: bool = False,
    ) -> None:
        self.in_lines, self._written = not sys.stderr.isatty(), time.monotonic()
        style: dict[str, Any] = {"mininterval": 0.2, "delay": delay, "leave": leave}
        if self.in_lines:
            form = _LINE_WITHOUT_END if total is None else _LINE
            style = {"mininterval": FIRST, "miniters": 1, "delay": FIRST, "bar_format": form}
        super().__init__(
            total=total, desc=desc, unit=f" {unit}", initial=initial, dynamic_ncols=True, **style
        )

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar, or write a line and wait longer for the next one."""
        if not self.in_lines:
            return super().display(msg, pos)
        now = time.monotonic()
        if now - self._written < self.mininterval:
            return False
        self._written, self.mininterval = now, min(2 * self.mininterval, RAREST)
        print(str(self), file=sys.stderr, flush=True)
        return True

    def close(self) -> None:
        """Remove the bar; lines stay as they are."""
        if self.in_lines:
            self.delay = float("inf")  # the base class then has nothing to remove
        super().close()


def track(items: Iterable[T], desc: str, unit: str, total: int | None = None) -> Iterator[T]:
    """Go through items with a bar; without ``total`` they have a length."""
    with Bar(desc, len(items) if isinstance(items, Sized) else total, unit) as bar:
        for item in items:
            yield item
            bar.update()
