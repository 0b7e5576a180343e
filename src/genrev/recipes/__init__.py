"""Recipes: one YAML file per experiment, and how they are read and overridden."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrev.recipes.parsing import Key as Key
    from genrev.recipes.parsing import keys_of as keys_of
    from genrev.recipes.parsing import load_recipe as load_recipe
    from genrev.recipes.parsing import merge as merge
    from genrev.recipes.parsing import parse_config as parse_config
    from genrev.recipes.parsing import set_key as set_key
    from genrev.recipes.parsing import train as train
    from genrev.recipes.runs import read_run_config as read_run_config
    from genrev.recipes.runs import run_data as run_data
    from genrev.recipes.runs import run_split as run_split
    from genrev.recipes.runs import train_split as train_split
    from genrev.recipes.shipped import headline as headline
    from genrev.recipes.shipped import read_recipe as read_recipe
    from genrev.recipes.shipped import read_yaml as read_yaml
    from genrev.recipes.shipped import recipe_names as recipe_names

# Names are imported when they are first used: a list of recipes needs no PyTorch.
_HOMES = {
    "parsing": ("Key", "keys_of", "load_recipe", "merge", "parse_config", "set_key", "train"),
    "runs": ("read_run_config", "run_data", "run_split", "train_split"),
    "shipped": ("headline", "read_recipe", "read_yaml", "recipe_names"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"genrev.recipes.{home}"), name)
    raise AttributeError(f"module 'genrev.recipes' has no attribute {name!r}")
