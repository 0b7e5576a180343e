"""Recipes: one YAML file per experiment, and how they are read and overridden."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrev.recipes.parsing import Key, keys_of, load_recipe, merge, parse_config
    from genrev.recipes.runs import read_run_config, run_data, run_split, train_split
    from genrev.recipes.shipped import headline, read_recipe, read_yaml, recipe_names
    from genrev.recipes.start import resume, train

# Names are imported when they are first used: a list of recipes needs no PyTorch.
_HOMES = {
    "parsing": ("Key", "keys_of", "load_recipe", "merge", "parse_config", "set_key"),
    "runs": ("read_run_config", "run_data", "run_split", "train_split"),
    "shipped": ("headline", "read_recipe", "read_yaml", "recipe_names"),
    "start": ("resume", "train"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"genrev.recipes.{home}"), name)
    raise AttributeError(f"module 'genrev.recipes' has no attribute {name!r}")
