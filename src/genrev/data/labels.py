"""Labels as sources have them (numbers, truth values, texts) become 0 to K - 1 and K names."""

import numpy as np

from genrev.errors import GenrevError

__all__ = ["UNLABELLED", "encode_labels"]

UNLABELLED = ("all",)
MOST_NUMBERED_CLASSES = 1000


def _is_missing(label: object, known: tuple[str, ...] | None) -> bool:
    """Among declared classes, -1 is how the hub writes a label that is kept secret."""
    return label is None or (known is not None and label == -1)


def _encode(labels: list[object], known: tuple[str, ...] | None) -> tuple[list[int], list[str]]:
    """Number the classes; raises ValueError if the values are not of a kind that can be."""
    if all(isinstance(label, int) for label in labels):  # bool is an int: False 0, True 1
        numbers = [int(label) for label in labels]  # type: ignore[call-overload]
        if known:
            if not all(0 <= number < len(known) for number in numbers):
                raise ValueError(f"numbers outside of its {len(known)} classes")
            return numbers, list(known)
        if min(numbers) >= 0 and max(numbers) < MOST_NUMBERED_CLASSES:
            # Numbers stay what they are, so that splits agree even if one lacks a class.
            return numbers, [str(number) for number in range(max(numbers) + 1)]
        values = sorted(set(numbers))
        position = {value: index for index, value in enumerate(values)}
        return [position[number] for number in numbers], [str(value) for value in values]
    if all(isinstance(label, str) for label in labels):
        names = sorted({str(label) for label in labels})
        place = {name: index for index, name in enumerate(names)}
        return [place[str(label)] for label in labels], names
    raise ValueError("values that are neither whole numbers nor texts")


def encode_labels(
    labels: list[object], name: str, known: tuple[str, ...] | None, required: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Turn the labels of all records of a source into numbers and names.

    Whole numbers from 0 to 999 stay what they are, other numbers and texts are numbered in
    sorted order, and the names a source declares are kept. A source without labels, or without
    usable ones in a column the user did not ask for, has the one class ``all``.

    Args:
        labels: As the source has them.
        name: How messages call the source.
        known: Names of the classes if the source declares them.
        required: Whether the user asked for these labels.

    Returns:
        int64 array (N,) and K class names.

    Raises:
        GenrevError: If some images have a label and some do not, or the label column the user
            asked for cannot be used.
    """
    unlabelled = np.zeros(len(labels), np.int64), UNLABELLED
    missing = sum(_is_missing(label, known) for label in labels)
    if missing == len(labels) and not required:
        return unlabelled
    if missing:
        raise GenrevError(
            f"{missing} of {len(labels)} images of {name} have no label; "
            "complete the label column, or name another one"
        )
    try:
        numbers, names = _encode(labels, known)
    except ValueError as error:
        if not required:
            return unlabelled
        raise GenrevError(
            f"the label column of {name} holds {error}; "
            "name one with whole numbers, truth values or texts"
        ) from error
    return np.array(numbers, np.int64), tuple(names)
