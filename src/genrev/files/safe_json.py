"""JSON from a stranger, read strictly.

Python's reader takes more than JSON: ``NaN``, ``Infinity``, the last of several values of one key.
And it takes files that are made to hurt: nested until the stack is full, or with numbers of a
million digits. Here each of these is an error, and a file has a largest size.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["read_json_object"]


def read_json_object(path: Path, largest: int) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: the file.
        largest: its largest size in bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger, no JSON in UTF-8, no object, nested too deeply, or has a number
            that is not finite or one key twice in the same place.
    """
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it has more than {largest:,} bytes")
    try:
        values = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_finite,
            parse_constant=_no_number,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("it is no object {...}")
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it has the key {twice[:40]!r} twice")
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text[:40]}, which is not finite")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"it has {text}, which JSON does not know")
