"""Recipes: one YAML file per experiment, and how they are read and overridden."""

from genrev.recipes.runs import read_run_config, run_data, run_split, train_split
from genrev.recipes.schema import (
    config_parser,
    known_keys,
    merge,
    method_of,
    model_parser,
    network_parser,
    parse_config,
    read_yaml,
    set_key,
)
from genrev.recipes.shipped import headline, load_recipe, read_recipe, recipe_names

__all__ = [
    "config_parser",
    "headline",
    "known_keys",
    "load_recipe",
    "merge",
    "method_of",
    "model_parser",
    "network_parser",
    "parse_config",
    "read_recipe",
    "read_run_config",
    "read_yaml",
    "recipe_names",
    "run_data",
    "run_split",
    "set_key",
    "train_split",
]
