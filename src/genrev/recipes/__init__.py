"""Recipes: one YAML file per experiment, and how they are read and overridden."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrev.recipes.parsing import (
        Key,
        keys_of,
        load_recipe,
        merge,
        parse_config,
        set_key,
        train,
    )
    from genrev.recipes.runs import read_run_config, run_data, run_split, train_split
    from genrev.recipes.shipped import headline, read_recipe, read_yaml, recipe_names

__all__ = [
    "Key",
    "headline",
    "keys_of",
    "load_recipe",
    "merge",
    "parse_config",
    "read_recipe",
    "read_run_config",
    "read_yaml",
    "recipe_names",
    "run_data",
    "run_split",
    "set_key",
    "train",
    "train_split",
]

_HOMES = {
    "shipped": ("headline", "read_recipe", "read_yaml", "recipe_names"),
    "runs": ("read_run_config", "run_data", "run_split", "train_split"),
}


def __getattr__(name: str) -> Any:
    # Names are imported when they are first used: a list of recipes needs no PyTorch.
    if name not in __all__:
        raise AttributeError(f"module 'genrev.recipes' has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "parsing")
    return getattr(import_module(f"genrev.recipes.{home}"), name)
