"""The network of a recipe: the name of a preset, or fields, or some fields on top of a preset.

The third is written ``{preset: NAME, FIELD: VALUE, ...}``; it comes about by itself where fields
are set on top of a name.
"""

import inspect
from collections.abc import Mapping
from typing import Any, get_args

from genrev.errors import GenrevError
from genrev.networks import PRESETS, ConvAutoencoder, ConvAutoencoderConfig, Init, RevNetConfig

__all__ = ["merged_network", "whole_network"]

_FAMILIES: dict[type, Mapping[str, RevNetConfig | ConvAutoencoderConfig]] = {
    RevNetConfig: PRESETS,
    ConvAutoencoderConfig: ConvAutoencoder.presets,
}


def merged_network(old: Any, new: Any) -> Any:
    """A network on top of another one, each a name, fields, or fields on top of a preset.

    Example:
        >>> merged_network("mnist", {"bands": "haar"})
        {'preset': 'mnist', 'bands': 'haar'}
    """
    if not isinstance(new, dict) or "preset" in new:
        return new
    if isinstance(old, str):
        return {"preset": old, **new}
    return {**old, **new} if isinstance(old, dict) else new


def whole_network(model: dict[str, Any], shape: type, source: str) -> dict[str, Any]:
    """All fields of a network: what its preset says, if it has one, and what is changed.

    Args:
        model: the section ``model``, whose network is fields; its ``init`` is that of presets.
        shape: dataclass of the fields.
        source: where they come from, for messages.

    Raises:
        GenrevError: no preset of that name, fields that are null, or fields without a preset of
            which some are missing.
    """
    network = model["network"]
    for name, value in network.items():
        if value is None:
            raise GenrevError(
                f"--model.network.{name} in {source} cannot be null; give a value or leave it out."
            )
    given = {name: value for name, value in network.items() if name != "preset"}
    if "preset" in network:
        return {**_preset_fields(network["preset"], model, shape, source), **given}
    signature = inspect.signature(shape).parameters.values()
    missing = [p.name for p in signature if p.default is p.empty and p.name not in given]
    if missing:
        raise GenrevError(
            f"--model.network in {source} lacks {', '.join(missing)}; give them too, or name a "
            "preset with --model.network and change single fields of it."
        )
    return given


def _preset_fields(name: object, model: dict[str, Any], shape: type, source: str) -> dict[str, Any]:
    presets = _FAMILIES[shape]
    if not isinstance(name, str) or name not in presets:
        raise GenrevError(
            f"--model.network in {source} changes fields of {name!r}, which is no preset; choose "
            f"from {', '.join(presets)}."
        )
    values = presets[name].plain()
    if "init" in values and model.get("init") in get_args(Init):  # else it is told what is wrong
        values["init"] = model["init"]
    return values
