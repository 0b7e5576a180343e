"""Train a model by a recipe into a new run folder.

This command takes every key of a recipe as an option, so it reads its arguments itself: one
positional RECIPE, and options that each have exactly one value.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genrev.cli.results import report_finished_run
from genrev.errors import GenrevError
from genrev.recipes import (
    config_parser,
    headline,
    merge,
    parse_config,
    read_recipe,
    read_yaml,
    recipe_names,
    set_key,
)
from genrev.training import RunConfig, is_first_process, train

__all__ = ["configure", "read_arguments", "run_arguments"]

_USAGE = "genrev train RECIPE [--config FILE] [--KEY VALUE ...] --out RUN"


def configure(parser: argparse.ArgumentParser) -> None:
    """Only for the list of commands; see the module's text."""
    parser.usage = _USAGE


def run_arguments(arguments: Sequence[str]) -> None:
    """Read the arguments and train."""
    if "--help" in arguments or "-h" in arguments:
        print(_help())
        return
    config, out = read_arguments(arguments)
    model = train(config, out)
    if model is not None and is_first_process():
        report_finished_run(out)


def read_arguments(arguments: Sequence[str]) -> tuple[RunConfig, Path]:
    """Recipe, then --config files, then single keys, each on top of the one before.

    Raises:
        GenrevError: no or several recipes, no --out, an option without value, unknown keys, or
            values of the wrong type.
    """
    recipes: list[str] = []
    files: list[str] = []
    overrides: dict[str, Any] = {}
    out = None
    for key, value in _tokens(arguments):
        if key is None:
            recipes.append(value)
        elif key == "config":
            files.append(value)
        elif key == "out":
            out = value
        else:
            set_key(overrides, key, value)
    if len(recipes) != 1:
        given = f"got {' and '.join(recipes)}" if recipes else "got none"
        raise GenrevError(
            f"`genrev train` takes one recipe and {given}; choose from "
            f"{', '.join(recipe_names())}, or give a YAML file."
        )
    name, values = read_recipe(recipes[0])
    source = f"recipe {name}"
    for file in files:
        values = merge(values, read_yaml(Path(file)))
        source += f" with {file}"
    values = {**merge(values, overrides), "recipe": name}
    if overrides:
        source += " with the command line"
    config = parse_config(values, source)
    if out is None:
        raise GenrevError(f"`genrev train` needs a folder for the run; add --out runs/{name}.")
    return config, Path(out)


def _tokens(arguments: Sequence[str]) -> Iterator[tuple[str | None, str]]:
    """Pairs of key and value; the key is ``None`` for positional arguments."""
    rest = iter(arguments)
    for token in rest:
        if not token.startswith("--"):
            yield None, token
        elif "=" in token:
            key, value = token[2:].split("=", 1)
            yield key, value
        else:
            following = next(rest, None)
            if following is None or following.startswith("--"):
                raise GenrevError(f"{token} needs a value; write {token} VALUE.")
            yield token[2:], following


def _help() -> str:
    recipes = "\n".join(f"  {name:16s} {headline(name)}" for name in recipe_names())
    keys = config_parser().format_help().split("\n\n", 1)[-1]
    return (
        f"usage: {_USAGE}\n\n"
        f"Train a model by a recipe into a new run folder.\n\nrecipes:\n{recipes}\n\n"
        "keys, each also allowed in a recipe or in --config FILE "
        f"(--data NAME is short for --data.source NAME):\n\n{keys}"
    )
