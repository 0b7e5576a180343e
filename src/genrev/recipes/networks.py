"""The network of a recipe: the name of a preset, or fields, or some fields on top of a preset."""

from dataclasses import MISSING, asdict, fields
from typing import Any

from genrev.errors import GenrevError
from genrev.models import CONV_PRESETS, PRESETS, conv_autoencoder_config, revnet_config

__all__ = ["preset_fields", "require_whole_network"]


def preset_fields(name: str, model: dict[str, Any]) -> dict[str, Any]:
    """What a preset stands for, so that single fields of it can be changed.

    Args:
        name: the preset.
        model: the keys beside the network; ``init`` is meant for presets and goes along.

    Raises:
        GenrevError: no preset of that name.
    """
    if name in PRESETS:
        return asdict(revnet_config(name, init=model.get("init", "torch")))
    if name in CONV_PRESETS:
        return asdict(conv_autoencoder_config(name))
    raise GenrevError(
        f"--model.network is {name!r}, which is no preset, so single fields of it cannot be "
        f"changed; choose from {', '.join([*PRESETS, *CONV_PRESETS])}."
    )


def require_whole_network(network: dict[str, Any], shape: type, source: str) -> None:
    """A network of fields, under which there is no preset, has to give all that have no default.

    Args:
        network: its fields.
        shape: dataclass of the fields.
        source: where it comes from, for the message.

    Raises:
        GenrevError: some are missing.
    """
    needed = [f.name for f in fields(shape) if f.default is MISSING]
    missing = [name for name in needed if network.get(name) is None]
    if missing:
        raise GenrevError(
            f"--model.network in {source} lacks {', '.join(missing)}; give them too, or name a "
            "preset with --model.network and change single fields of it."
        )
