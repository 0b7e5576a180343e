"""CSV, JSON and YAML from a stranger, read within limits.

The usual readers take files that are made to hurt: rows of CSV are filled up to the header, so a
few megabytes stand for 10^10 cells; JSON may have ``NaN``, one key twice, endless nesting and huge
numbers; a few lines of YAML with aliases stand for 10^9 values. Here these are errors.
"""

import csv
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import yaml

LARGEST_CSV = 2**28  # bytes; a million rows of measurements
MOST_COLUMNS = 200
LARGEST_YAML = 2**16  # bytes; a resolved configuration has about 2,000
MOST_VALUES = 10_000  # a resolved configuration has about 100

# Numbers such as 1e-3, which PyYAML takes for words.
_EXPONENT = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+\Z")
# All but the first are what PyYAML raises for values such as `!!int ""`.
_NO_YAML = (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError)


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    """Columns and rows of CSV with a header, None for missing cells; ValueError if it is bad."""
    if path.stat().st_size > LARGEST_CSV:
        raise ValueError(f"it has more than {LARGEST_CSV:,} bytes")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            if len(names) > MOST_COLUMNS:
                raise ValueError(f"it has {len(names):,} columns, and {MOST_COLUMNS} are allowed")
            return names, list(reader)
    except csv.Error as error:
        raise ValueError(str(error)) from error


def read_json_object(path: Path, largest: int) -> dict[str, Any]:
    """Read one JSON object of at most ``largest`` bytes; ValueError tells what is wrong with it."""
    parse = partial(
        json.loads, object_pairs_hook=_object, parse_float=_finite, parse_constant=_no_number
    )
    values = _parsed(path, largest, parse)
    if not isinstance(values, dict):
        raise ValueError("it is no object {...}")
    return values


def read_yaml_mapping(path: Path) -> dict[Any, Any]:
    """Read one YAML mapping, 1e-3 being a number; ValueError tells what is wrong with it."""
    try:
        values = _parsed(path, LARGEST_YAML, _load_yaml)
    except _NO_YAML as error:
        raise ValueError(_told(error)) from error
    if not isinstance(values, dict):
        raise ValueError("it must hold keys and values such as `batch_size: 400`")
    return values


def read_yaml_value(text: str) -> Any:
    """A value as YAML writes it on one line; what is no YAML is a text."""
    try:
        return _load_yaml(text)
    except (*_NO_YAML, ValueError):
        return text


def dump_yaml(values: Mapping[str, Any]) -> str:
    """YAML that ``read_yaml_mapping`` reads as these values."""
    text: str = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False)
    return text


def _parsed(path: Path, largest: int, parse: Callable[[str], Any]) -> Any:
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError(f"it has more than {largest:,} bytes")
    try:
        return parse(content.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _told(error: Exception) -> str:
    """What is wrong with YAML, and in which line, as far as that is known."""
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.MarkedYAMLError) and mark is not None:
        words = (error.context, error.problem)
        return f"line {mark.line + 1}: {', '.join(word for word in words if word)}"
    return " ".join(str(error).split()) or type(error).__name__


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"it has the key {key[:40]!r} twice")
        values[key] = value
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has the number {text[:40]}, which is not finite")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"it has {text}, which JSON does not know")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which makes plain values only; see ``_EXPONENT``."""


class _Dumper(yaml.SafeDumper):
    """Quotes the words that ``_Loader`` would take for numbers."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def _load_yaml(text: str) -> Any:
    loader = _Loader(text)
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
    if known.get(id(node)) == 0:
        raise ValueError("an alias in it stands inside of what it repeats")
    if id(node) not in known:
        known[id(node)] = 0  # not known yet
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]
