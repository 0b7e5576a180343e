"""YAML from a stranger, read within limits.

PyYAML's safe loader makes plain values only, and runs nothing. But an alias repeats what its anchor
names: a few lines that each repeat the line before nine times stand for 10^9 values, which whoever
walks through them never finishes. Aliases are useful in recipes, so they stay; what is limited is
the number of values that a file stands for, aliases written out.
"""

from pathlib import Path
from typing import Any

import yaml

__all__ = ["read_yaml_mapping"]

LARGEST_FILE = 2**16  # bytes; a resolved configuration has about 2,000
MOST_VALUES = 10_000  # a resolved configuration has about 100


def read_yaml_mapping(path: Path) -> dict[Any, Any]:
    """Read a file that holds one YAML mapping of plain values.

    Args:
        path: the file, in UTF-8.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is too large, no YAML, no mapping, nested too deeply, names Python objects,
            stands for too many values, or has an alias inside of what it repeats.
    """
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE:,} bytes")
    try:
        values = _load(content.decode("utf-8"))
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # All but the first are what PyYAML raises for values such as `!!int ""`.
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("it must hold keys and values such as `batch_size: 400`")
    return values


def _load(text: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_VALUES:
            raise ValueError(f"it stands for more than {MOST_VALUES:,} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values a node stands for; a node that aliases share is counted each time."""
    if id(node) in known:
        if not known[id(node)]:
            raise ValueError("an alias in it stands inside of what it repeats")
        return known[id(node)]
    known[id(node)] = 0  # not known yet
    total = 1
    if isinstance(node, yaml.MappingNode):
        total += sum(_size(key, known) + _size(value, known) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        total += sum(_size(value, known) for value in node.value)
    known[id(node)] = total
    return total
