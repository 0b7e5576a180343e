"""A benchmark of several parts that has to be over after so many minutes.

A part has its share of the time that is left when it begins, and looks at its clock before each
piece of work, since nothing interrupts it. What goes wrong in one is written down and does not stop
the others.
"""

import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

Found: TypeAlias = dict[str, Any]
"""What a part has found so far, as JSON has it; ``skipped`` is a list of lines."""


class Clock:
    """The time of a part.

    Args:
        seconds: how long it has from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, 0 or more."""
        return max(0.0, self._end - time.monotonic())

    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.left == 0

    def skips(self, found: Found, what: str) -> bool:
        """Whether a piece of work has to be left out, which is written down then."""
        if self.is_over():
            skip(found, f"{what}: no time was left")
        return self.is_over()


class Part(NamedTuple):
    """Something to measure."""

    share: float
    """Of the time, relative to those of the other parts."""
    measure: Callable[[Found, Clock], None]
    """Writes what it finds into a dictionary, as it comes."""


def skip(found: Found, line: str) -> None:
    """Write down that something was left out, and why."""
    found.setdefault("skipped", []).append(line)


def measure_parts(
    parts: Mapping[str, Part], minutes: float, result: Found, write: Callable[[Found], None]
) -> None:
    """Measure all parts in their order, into ``result["parts"]``.

    Args:
        parts: by name.
        minutes: time for all of them.
        result: gets for each part what it found, ``status`` (done, failed or skipped) and
            ``seconds``, and of one that failed ``error`` and ``traceback``.
        write: called with the result after every part.
    """
    whole, rest = Clock(60 * minutes), sum(part.share for part in parts.values())
    found: Found = result.setdefault("parts", {})
    for name, part in parts.items():
        entry = found[name] = {"status": "done"}
        clock, start = Clock(whole.left * part.share / rest), time.monotonic()
        rest -= part.share
        if whole.skips(entry, name):
            entry["status"] = "skipped"
        else:
            print(f"{name} ({whole.left / 60:.1f} of {minutes:g} minutes left)", file=sys.stderr)
            _measure(part, entry, clock)
        entry |= _without_nan(entry) | {"seconds": round(time.monotonic() - start, 2)}
        write(result)


def _without_nan(value: Any) -> Any:
    """The same with ``None`` for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _measure(part: Part, entry: Found, clock: Clock) -> None:
    try:
        part.measure(entry, clock)
    except Exception as error:  # whatever it is, the other parts can still be measured
        lines = str(error).splitlines() or [""]
        entry |= {"status": "failed", "error": f"{type(error).__name__}: {lines[0]}"}
        entry["traceback"] = traceback.format_exc()
