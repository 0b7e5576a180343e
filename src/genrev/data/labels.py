"""Labels as sources have them (numbers, texts, truth values) become 0 to K - 1 and K names."""

import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from math import isnan

import numpy as np

from genrev.errors import GenrevError
from genrev.words import counted

NO_LABELS = "none"  # what the user says for ``label`` where none are wanted
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_CURE = f"name another column with label, or set label to {NO_LABELS} to go without."


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Put the names of classes into order: as numbers if all of them are, else as texts."""
    unique = sorted(set(names))
    numbers = all(map(_NUMBER.fullmatch, unique))
    return tuple(sorted(unique, key=Decimal) if numbers else unique)


def encode_labels(
    labels: list[object], name: str, known: tuple[str, ...] | None, required: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers int64 (N,), and the classes: those ``known``, or all values (3, 3.0, "3" are one)."""
    try:
        names = _declared(labels, known, name) if known else list(map(_class_name, labels))
    except TypeError as error:
        raise GenrevError(
            f"The label column of {name} holds a {error} for each image and not a single value; "
            f"{_CURE}"
        ) from error
    missing = names.count(None)
    if missing == len(labels) and not required:
        return np.zeros(len(labels), np.int64), ("all",)
    if missing:
        raise GenrevError(
            f"{missing:,} of {counted(len(labels), 'image')} of {name} "
            f"{'has' if missing == 1 else 'have'} no label; complete them, {_CURE}"
        )
    different = len(set(names))
    fractions = any(isinstance(label, float | Decimal) and label != label // 1 for label in labels)
    # Many measurements, or names of single images, are no classes.
    if not known and different > 100 and (fractions or 2 * different > len(labels)):
        raise GenrevError(
            f"The label column of {name} has {different:,} different values for {len(labels):,} "
            f"images, too many to be classes; {_CURE}"
        )
    classes = known or order_classes(map(str, names))
    place = {label: number for number, label in enumerate(classes)}
    return np.array([place[str(label)] for label in names], np.int64), classes


def _number_name(value: float | Decimal) -> str:
    """``3`` for 3.0, and no more digits than tell a float from others of its precision."""
    if np.isfinite(float(value)) and value == int(value):
        return str(int(value))
    if isinstance(value, Decimal):
        return str(value.normalize())
    with np.errstate(over="ignore"):
        short = (np.float16(value), np.float32(value))
    return next((str(number) for number in short if float(number) == value), str(value))


def _class_name(label: object) -> str | None:
    """The name of a class, None for a missing label; TypeError for what is no single value."""
    if isinstance(label, bytes):
        label = label.decode(errors="backslashreplace")
    if label is None or label == "" or (isinstance(label, float | Decimal) and isnan(label)):
        return None
    if isinstance(label, float | Decimal):
        return _number_name(label)
    if isinstance(label, int | str | date):
        return str(int(label) if isinstance(label, int) else label)
    raise TypeError(type(label).__name__)


def _declared(labels: list[object], known: tuple[str, ...], name: str) -> list[str | None]:
    """Names of numbered classes; -1 is how the hub writes a label that is kept secret."""
    numbers = [label if isinstance(label, int) else -1 for label in labels]
    if not all(-1 <= number < len(known) for number in numbers):
        raise GenrevError(
            f"The label column of {name} holds numbers outside of its {len(known)} classes; {_CURE}"
        )
    return [None if number == -1 else known[number] for number in numbers]
