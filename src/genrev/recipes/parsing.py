"""From nested dictionaries, as YAML files and the command line give them, to a ``RunConfig``.

Network, prior and method are chosen first, since they say which options there are. A section may be
written as its choice alone: ``network: mnist``, ``prior: uniform``, ``data: celeba``.
"""

import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic.fields import FieldInfo

from genrev.data import DataConfig
from genrev.errors import GenrevError
from genrev.files.readers import read_yaml_value
from genrev.networks.network import NETWORKS
from genrev.options import Options
from genrev.priors import PRIORS
from genrev.recipes.shipped import TOP, read_recipe, unknown
from genrev.registry import Registry
from genrev.training import (
    METHODS,
    Choice,
    EngineOptions,
    OptimizerOptions,
    PriorChoice,
    RunConfig,
    TrainerOptions,
)

CHOSEN: dict[str, Registry[Any]] = {"network": NETWORKS, "prior": PRIORS, "method": METHODS}
_PLAIN: dict[str, type[Options]] = {
    "data": DataConfig,
    "optimizer": OptimizerOptions,
    "engine": EngineOptions,
    "trainer": TrainerOptions,
}
SECTIONS = ("data", "network", "prior", "method", "optimizer", "engine", "trainer")
# Options that say which other options a section has; the last is the name in the registry.
_CHOOSING = {"network": ("preset", "kind"), "prior": ("kind",), "method": ("name",)}
_SHORT = {"data": "source", "network": "preset", "prior": "kind", "method": "name"}


class Key(NamedTuple):
    """An option of a configuration: its dotted name, and type, range, default and description."""

    name: str
    field: FieldInfo


def parse_config(values: dict[str, Any], source: str) -> RunConfig:
    """Check nested values and fill in the defaults.

    Args:
        values: nested dictionaries, any part of a ``RunConfig``.
        source: where they come from, for messages.

    Raises:
        GenrevError: an unknown section or option, a value of the wrong type or out of range, or
            sections that do not go together.
    """
    values = _sections(values, source)
    choices = _choices(values, source)
    chosen = {s: CHOSEN[s][name].Options for s, name in choices.items()}
    _require_known(values, choices, {**_PLAIN, **chosen}, source)
    parts: dict[str, Any] = {key: values[key] for key in TOP if key in values}
    parts |= {s: cls.parse(values[s], s, source) for s, cls in _PLAIN.items()}
    for section, cls in chosen.items():
        given, name = values[section], choices[section]
        if section == "network":
            given = _whole_network(given, name, source)
        given = {key: v for key, v in given.items() if key not in _CHOOSING[section]}
        choice = PriorChoice if section == "prior" else Choice
        parts[section] = choice(name=name, options=cls.parse(given, section, source))
    return RunConfig.parse(parts, "", source)


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> RunConfig:
    """A recipe as ``genrev.training.train`` takes it, with some of its values changed.

    Args:
        name: a shipped recipe, or the path of a YAML file.
        changes: nested as in the file, or by dotted keys as on the command line; they replace its
            values option by option.

    Raises:
        GenrevError: no such recipe, or values as ``parse_config`` refuses them.

    Example:
        >>> config = load_recipe("digits", {"trainer": {"max_steps": 300}, "optimizer.lr": 1e-4})
        >>> config.recipe, config.trainer.max_steps, config.optimizer.lr
        ('digits', 300, 0.0001)
    """
    recipe, values = read_recipe(name)
    source = f"recipe {recipe}{' with changes' if changes else ''}"
    for key, value in (changes or {}).items():
        section, _, option = key.partition(".")
        values = merge(values, {section: {option: value}} if option else {section: value})
    return parse_config({**values, "recipe": recipe}, source)


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Values of ``over`` on top of ``base``, section by section and option by option.

    Options of a network on top of a preset change the preset. Another network, prior or method
    replaces the whole section, since its options are others.

    Example:
        >>> merge({"network": "mnist"}, {"network": {"bands": "haar"}, "optimizer": {"lr": 1}})
        {'network': {'preset': 'mnist', 'bands': 'haar'}, 'optimizer': {'lr': 1}}
        >>> merge({"prior": {"kind": "mixture", "components": 4}}, {"prior": "uniform"})
        {'prior': {'kind': 'uniform'}}
    """
    merged = dict(base)
    for section, value in over.items():
        old, new = (_written_out(section, part) for part in (base.get(section), value))
        if isinstance(old, dict) and isinstance(new, dict):
            choices = [key for key in _CHOOSING.get(section, ()) if key in new]
            if all(new[key] == old.get(key) for key in choices):
                new = {**old, **new}
        merged[section] = new
    return merged


def set_key(values: dict[str, Any], key: str, text: str) -> None:
    """Set a dotted key, or the choice of a section, to a value written as YAML, unchecked."""
    section, _, option = key.partition(".")
    option = option or _SHORT.get(section, "")
    if not option:
        values[section] = read_yaml_value(text)
        return
    part = _written_out(section, values.setdefault(section, {}))
    if not isinstance(part, dict):
        raise GenrevError(
            f"--{section} is {part!r}, which has no option {option}; leave one of the two out."
        )
    part[option] = text if _is_text(section, option) and text != "null" else read_yaml_value(text)
    values[section] = part


def keys_of(config: RunConfig) -> Iterator[Key]:
    """All options of a configuration, in the order of its sections."""
    for name in TOP[1:]:
        yield Key(name, RunConfig.model_fields[name])
    for section in SECTIONS:
        part = getattr(config, section)
        options = part.options if isinstance(part, Choice) else part
        for name, field in type(options).model_fields.items():
            yield Key(f"{section}.{name}", field)


def _written_out(section: str, value: Any) -> Any:
    """A section as a dictionary, where it is written as its choice alone."""
    if section in _SHORT and isinstance(value, str):
        return {_SHORT[section]: value}
    return dict(value) if isinstance(value, dict) else value


def _sections(values: dict[str, Any], source: str) -> dict[str, Any]:
    """All sections as dictionaries; one that is null, all lines commented out, is empty."""
    found: dict[str, Any] = {section: {} for section in SECTIONS}
    for name, value in values.items():
        if name not in (*TOP, *SECTIONS):
            known = {section: list(cls.model_fields) for section, cls in _PLAIN.items()}
            raise unknown(source, str(name), None, {s: known.get(s, []) for s in SECTIONS})
        found[name] = _written_out(name, {} if name in SECTIONS and value in (None, "") else value)
        if name in SECTIONS and not isinstance(found[name], dict):
            given = " ".join(f"{value!r:.80}".split())
            raise GenrevError(f"{name} in {source} is a section of options and got {given}.")
    return found


def _choices(values: dict[str, Any], source: str) -> dict[str, str]:
    """Which network, prior and method are asked for."""
    name = _named(values, "method", "transport", source)
    network = values["network"] = values["network"] or {"preset": "digits"}
    kind = _kind_of_preset(network["preset"], source) if "preset" in network else "revnet"
    fitting = [p for p in PRIORS.names() if METHODS[name].accepts_prior(PRIORS[p])]
    return {
        "network": _named(values, "network", kind, source),
        "prior": _named(values, "prior", fitting[0], source),
        "method": name,
    }


def _named(values: dict[str, Any], section: str, default: str, source: str) -> str:
    registry = CHOSEN[section]
    name = values[section].get(_CHOOSING[section][-1], default)
    if not isinstance(name, str) or name not in registry:
        raise GenrevError(
            f"--{section} in {source} takes one of {', '.join(registry.names())} and got {name!r}"
            f"{_nearest(name, registry.names())}; one of your own is loaded by --plugin FILE."
        )
    return name


def _nearest(name: object, names: list[str]) -> str:
    near = difflib.get_close_matches(str(name), names, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _kind_of_preset(preset: object, source: str) -> str:
    presets = {name: kind for kind in NETWORKS.names() for name in NETWORKS[kind].presets}
    if not isinstance(preset, str) or preset not in presets:
        raise GenrevError(
            f"--network in {source} takes a preset, one of {', '.join(presets)}, and got "
            f"{preset!r}{_nearest(preset, list(presets))}."
        )
    return presets[preset]


def _whole_network(network: dict[str, Any], kind: str, source: str) -> dict[str, Any]:
    """All options of a network: what its preset says, if it has one, and what is changed."""
    cls, preset = NETWORKS[kind], network.get("preset")
    if preset is None:
        required = [name for name, field in cls.Options.model_fields.items() if field.is_required()]
        missing = [name for name in required if name not in network]
        if missing:
            raise GenrevError(
                f"--network in {source} lacks {', '.join(missing)}; give them too, or name a "
                f"preset with --network ({', '.join(cls.presets)}) and change single options of it."
            )
        return network
    if preset not in cls.presets:
        raise GenrevError(
            f"--network.preset {preset} in {source} is not one of --network.kind {kind}, which has "
            f"{', '.join(cls.presets) or 'none'}; leave one of the two out."
        )
    return {**dict(cls.presets[preset]), **network}


def _require_known(
    values: dict[str, Any], choices: dict[str, str], classes: dict[str, type[Options]], source: str
) -> None:
    """Raise ``GenrevError`` for the first option that is not there, with the nearest that is."""
    known = {section: list(classes[section].model_fields) for section in SECTIONS}
    for section, name in ((part, str(key)) for part in SECTIONS for key in values[part]):
        if name in (*known[section], *_CHOOSING.get(section, ())):
            continue
        others = CHOSEN.get(section, dict[str, Any]())
        owners = [n for n in others if name in others[n].Options.model_fields]
        if not owners:
            for other, choices_of in CHOSEN.items():  # what may have been meant of those not chosen
                for choice in choices_of:
                    known[other] += choices_of[choice].Options.model_fields
            raise unknown(source, section, name, known)
        option = "network.kind" if section == "network" else section
        raise GenrevError(
            f"{source} sets {section}.{name}, which is for --{option} {owners[0]} and this is "
            f"{choices[section]}; leave it out."
        )


def _is_text(section: str, option: str) -> bool:
    """Whether an option is a text wherever it exists: file names may look like numbers."""
    registry = CHOSEN.get(section, dict[str, Any]())
    classes = [_PLAIN[section]] if section in _PLAIN else [registry[n].Options for n in registry]
    kinds = [c.model_fields[option].annotation for c in classes if option in c.model_fields]
    parts = [p for kind in kinds for p in get_args(kind) or (kind,) if p is not type(None)]
    return bool(parts) and all((get_args(part) or (part,))[0] is str for part in parts)
