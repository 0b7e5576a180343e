"""From nested dictionaries, as YAML files and the command line give them, to a ``RunConfig``.

The keys below ``model`` depend on ``method``, so everything here is told the method first.
"""

import dataclasses
import difflib
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from genrev.errors import GenrevError
from genrev.files.paths import expand
from genrev.files.safe_yaml import read_yaml_mapping
from genrev.options import Options
from genrev.recipes.networks import merged_network, whole_network
from genrev.training import METHODS, RunConfig

__all__ = [
    "config_parser",
    "known_keys",
    "merge",
    "method_of",
    "model_parser",
    "network_parser",
    "parse_config",
    "read_yaml",
    "set_key",
]

_DEFAULT_METHOD = "transport"  # what files meant before there was the key


def config_parser() -> ArgumentParser:
    """Parser of all fields of a ``RunConfig`` but ``model``; help comes from its docstrings."""
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(RunConfig, skip={"model"})
    return parser


def model_parser(method: str, parser: ArgumentParser | None = None) -> ArgumentParser:
    """Parser of the fields of ``model`` for a method, on top of another one or alone."""
    parser = parser or ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(METHODS[method], "model")
    return parser


def network_parser(method: str) -> ArgumentParser:
    """Parser of the fields of ``model.network`` for a method."""
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_class_arguments(_network_shape(method), "model.network")
    return parser


def method_of(values: dict[str, Any], source: str) -> str:
    """The method that nested values ask for.

    Raises:
        GenrevError: there is none of that name.
    """
    method = values.get("method", _DEFAULT_METHOD)
    if not isinstance(method, str) or method not in METHODS:
        raise GenrevError(
            f"--method in {source} takes one of {', '.join(METHODS)} and got {method!r}."
        )
    return method


def parse_config(values: dict[str, Any], source: str) -> RunConfig:
    """Check names and types of nested values and fill in the defaults.

    Args:
        values: nested dictionaries, any part of a ``RunConfig``; ``data: NAME`` is short for
            ``data: {source: NAME}``.
        source: where they come from, for messages.

    Raises:
        GenrevError: an unknown key, with the nearest valid one, or a value of the wrong type.
    """
    values = _without_empty_sections(expand_data(values))
    method = method_of(values, source)
    fields = _has_network_fields(values)
    if fields:
        network = whole_network(values["model"], _network_shape(method), source)
        values = {**values, "model": {**values["model"], "network": network}}
    for key in _flat_keys(values):
        _require_known(key, source, method)
    if fields:  # by itself it is told what is wrong, beside a name that it is neither
        _instantiate(network_parser(method), {"model": {"network": network}}, source)
    config = _instantiate(model_parser(method, config_parser()), values, source)
    run = RunConfig(**{f.name: config[f.name] for f in dataclasses.fields(RunConfig)})
    _require_no_null(run, source)
    return run


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of a mapping.

    Raises:
        GenrevError: no such file, or not what ``read_yaml_mapping`` takes.
    """
    try:
        return read_yaml_mapping(expand(path))
    except OSError as error:
        raise GenrevError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise GenrevError(f"{path} is not valid YAML of a configuration: {error}.") from error


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Values of ``over`` on top of ``base``, nested dictionaries key by key.

    Fields of a network on top of the name of a preset change these fields of the preset.

    Example:
        >>> merge({"model": {"lr": 1, "bound": 2}}, {"model": {"lr": 3}})
        {'model': {'lr': 3, 'bound': 2}}
    """
    merged = dict(base)
    for key, value in expand_data(over).items():
        old = expand_data(base).get(key)
        if key == "network":
            merged[key] = merged_network(old, value)
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def set_key(values: dict[str, Any], key: str, text: str, method: str = _DEFAULT_METHOD) -> None:
    """Set a dotted key to a value written as YAML (numbers, true, null, [1, 2], words).

    Args:
        values: nested dictionaries, which are changed.
        key: the key.
        text: its value.
        method: whose keys there are below ``model``.

    Raises:
        GenrevError: an unknown key, with the nearest valid one.
    """
    if key == "data":
        key = "data.source"
    _require_known(key, "the command line", method)
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            named = parent == "network" and isinstance(values.get(parent), str)
            values[parent] = {"preset": values[parent]} if named else {}
        values = values[parent]
    value = text if key in _TEXT_KEYS else _scalar(text)
    if key == "model.network" and isinstance(values.get(last), dict) and isinstance(value, str):
        values[last]["preset"] = value  # the order of a preset and its fields says nothing
    else:
        values[last] = value


def known_keys(method: str = _DEFAULT_METHOD) -> list[str]:
    """All dotted keys of a ``RunConfig`` of a method."""
    general = [key for key in _field_keys(RunConfig) if not key.startswith("model")]
    return [*general, *_field_keys(METHODS[method], "model.")]


def expand_data(values: dict[str, Any]) -> dict[str, Any]:
    """Write ``data: NAME`` in full."""
    if isinstance(values.get("data"), str):
        return {**values, "data": {"source": values["data"]}}
    return values


def _without_empty_sections(values: dict[str, Any]) -> dict[str, Any]:
    """YAML reads a section all of whose lines are commented out as null; it has the defaults."""
    sections = {f.name for f in dataclasses.fields(RunConfig) if f.default is dataclasses.MISSING}
    return {k: v for k, v in values.items() if v is not None or k not in sections}


def _has_network_fields(values: dict[str, Any]) -> bool:
    model = values.get("model")
    return isinstance(model, dict) and isinstance(model.get("network"), dict)


def _network_shape(method: str) -> type:
    shape = _nested_dataclass(get_type_hints(METHODS[method])["network"])
    assert shape is not None  # every method has a network, by name or by fields
    return shape


def _instantiate(parser: ArgumentParser, values: dict[str, Any], source: str) -> Any:
    try:
        return parser.instantiate(parser.parse_object(values))
    except (ArgumentError, TypeError, ValueError) as error:
        raise GenrevError(_sentence(str(error), source)) from error


# File names may look like numbers.
_TEXT_KEYS = ("data.source", "data.cache", "phases.reconstruction", "trainer.frechet_features")


def _scalar(text: str) -> Any:
    # YAML 1.1 reads 1e-3 as a word, people do not.
    if re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text):
        return float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _field_keys(cls: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(cls)
    for name in _names(cls):
        nested = _nested_dataclass(hints[name])
        if nested is None or not dataclasses.is_dataclass(hints[name]):
            yield prefix + name
        if nested is not None:
            yield from _field_keys(nested, f"{prefix}{name}.")


def _names(cls: Any) -> list[str]:
    if issubclass(cls, Options):
        return list(cls.model_fields)
    return [field.name for field in dataclasses.fields(cls)]


def _nested_dataclass(hint: Any) -> type | None:
    options = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    found = (option for option in options if isinstance(option, type))
    return next((o for o in found if dataclasses.is_dataclass(o) or issubclass(o, Options)), None)


def _require_no_null(values: Any, source: str, prefix: str = "") -> None:
    """The parser lets null pass for every type; here only those that name ``None`` may have it."""
    hints = get_type_hints(type(values))
    for field in dataclasses.fields(values):
        value, key = getattr(values, field.name), prefix + field.name
        if value is None and type(None) not in get_args(hints[field.name]):
            raise GenrevError(f"--{key} in {source} cannot be null; give a value or leave it out.")
        if dataclasses.is_dataclass(value):
            _require_no_null(value, source, f"{key}.")


def _flat_keys(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _require_known(key: str, source: str, method: str) -> None:
    keys = known_keys(method)
    if key in keys:
        return
    owners = [other for other in METHODS if key in known_keys(other)]
    if owners:
        raise GenrevError(
            f"{source} sets {key}, which is for --method {owners[0]} and this is {method}; leave "
            "it out."
        )
    # Most slips are in the last part of a key, so a key that is right up to there comes first.
    parent, _, last = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == parent}
    last_names = {k.rpartition(".")[2]: k for k in keys}
    near = [siblings[m] for m in difflib.get_close_matches(last, siblings, n=1)]
    near = near or difflib.get_close_matches(key, keys, n=1)
    near = near or [last_names[m] for m in difflib.get_close_matches(last, last_names, n=1)]
    advice = f"did you mean --{near[0]}?" if near else "see `genrev train --help` for all keys."
    raise GenrevError(f"{source} sets {key}, which genrev does not know; {advice}")


def _sentence(message: str, source: str) -> str:
    """One sentence out of the several lines in which jsonargparse tells what is wrong."""
    text = " ".join(message.split())
    key = re.search(r'[Kk]ey "([\w.]+)"', text)
    if key is None:
        return f"{source} has a value that cannot be used: {text.rstrip('. ')}."
    value = re.search(r"(?:Got|Given) value: (.*?)\.?$", text)
    given = f"and got {value[1]!r}" if value else f"({text.rstrip('. ')})"
    return f"--{key[1]} in {source} takes {_expected(text)} {given}."


def _expected(text: str) -> str:
    literal = re.search(r"Literal\[([^\]]*)\]", text)
    if literal:
        return "one of " + literal[1].replace("'", "")
    text = re.sub(r"Given value type: <class '[\w.]+'>", "", text)
    kinds = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "a word"}
    for name, words in kinds.items():
        if f"<class '{name}'>" in text:
            return words
    return "another kind of value"
