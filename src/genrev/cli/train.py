"""Train a model by a recipe into a new run folder.

This command takes every key of a recipe as an option, so it reads its arguments itself: one
positional RECIPE, and options that each have exactly one value.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from genrev.cli.terminal import report_finished_run
from genrev.errors import GenrevError
from genrev.evaluation import require_trusted, trust
from genrev.files.paths import expand, quoted
from genrev.networks import RevNetConfig
from genrev.recipes import (
    config_parser,
    headline,
    merge,
    method_of,
    model_parser,
    network_parser,
    parse_config,
    read_recipe,
    read_yaml,
    recipe_names,
    set_key,
)
from genrev.training import METHODS, RunConfig, is_first_process, train, train_several

__all__ = ["configure", "read_arguments", "report_seeds", "run_arguments"]

_FEATURES = "trainer.frechet_features"
_USAGE = "genrev train RECIPE [--config FILE] [--KEY VALUE ...] [--seeds N] --out RUN"


def configure(parser: argparse.ArgumentParser) -> None:
    """Only for the list of commands; see the module's text."""
    parser.usage = _USAGE


def run_arguments(arguments: Sequence[str]) -> None:
    """Read the arguments and train."""
    if "--help" in arguments or "-h" in arguments:
        print(_help())
        return
    line = _read_line(arguments)
    config, out = _config(line), _out(line)
    _check_features(line, config)
    if line.seeds is not None:
        report_seeds(out, train_several(config, out, line.seeds))
        return
    model = train(config, out)
    if model is not None and is_first_process():
        report_finished_run(out)


def read_arguments(arguments: Sequence[str]) -> tuple[RunConfig, Path]:
    """Recipe, then --config files, then single keys, each on top of the one before.

    Raises:
        GenrevError: no or several recipes, no --out, an option without value, unknown keys, or
            values of the wrong type.
    """
    line = _read_line(arguments)
    return _config(line), _out(line)


def report_seeds(out: Path, finished: bool) -> None:
    """Say where the runs are and what to do with them, or how to go on."""
    if not is_first_process():
        return
    if finished:
        print(f"The trained models are in {out}/seed0 and so on. Next:")
        print(f"  genrev figures {quoted(out)}")
        print(f"  genrev evaluate {quoted(out / 'seed0')}")
    else:
        print(f"All that is missing follows by: genrev resume {quoted(out)}")


@dataclass
class _Line:
    """The arguments, sorted by kind."""

    recipes: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    out: str | None = None
    seeds: int | None = None

    @property
    def recipe(self) -> str:
        """The recipe, of which there has to be one."""
        if len(self.recipes) != 1:
            given = f"got {' and '.join(self.recipes)}" if self.recipes else "got none"
            raise GenrevError(
                f"`genrev train` takes one recipe and {given}; choose from "
                f"{', '.join(recipe_names())}, or give a YAML file."
            )
        return self.recipes[0]


def _read_line(arguments: Sequence[str]) -> _Line:
    line = _Line()
    for key, value in _tokens(arguments):
        if key is None:
            line.recipes.append(value)
        elif key == "config":
            line.files.append(value)
        elif key == "out":
            line.out = value
        elif key == "seeds":
            line.seeds = _number_of_seeds(value)
        else:
            line.keys[key] = value
    return line


def _config(line: _Line) -> RunConfig:
    name, values = read_recipe(line.recipe)
    source = f"recipe {name}"
    for file in line.files:
        values = merge(values, read_yaml(expand(file, "--config")))
        source += f" with {file}"
    if line.keys:
        source += " with the command line"
    asked = {"method": line.keys["method"]} if "method" in line.keys else {}
    method = method_of(values | asked, source)  # it says which keys there are
    overrides: dict[str, Any] = {}
    for key, value in line.keys.items():
        set_key(overrides, key, value, method)
    config = parse_config({**merge(values, overrides), "recipe": name}, source)
    _require_init_counts(line, config)
    return config


def _require_init_counts(line: _Line, config: RunConfig) -> None:
    """The initialisation is meant for presets; beside a network of fields it would say nothing."""
    network = getattr(config.model, "network", None)
    asked = getattr(config.model, "init", None)
    if "model.init" in line.keys and isinstance(network, RevNetConfig) and network.init != asked:
        raise GenrevError(
            f"--model.init {asked} is for presets, and the network of {line.recipe} is given by "
            f"its fields; write --model.network.init {asked}."
        )


def _check_features(line: _Line, config: RunConfig) -> None:
    if _FEATURES in line.keys:
        trust(line.keys[_FEATURES])
    features = config.trainer.frechet_features
    if features is not None and config.trainer.frechet_every is not None:
        source = " with ".join([line.recipe, *line.files])
        require_trusted(features, source, f"add --{_FEATURES} {quoted(features)}")


def _out(line: _Line) -> Path:
    if line.out is None:
        name = Path(line.recipe).stem
        raise GenrevError(
            f"`genrev train` needs a folder for the run; add --out {quoted(f'runs/{name}')}."
        )
    return expand(line.out, "--out")


def _number_of_seeds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise GenrevError(f"--seeds takes a number of 1 or more and got {text!r}.")
    return int(text)


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
    width = max(len(name) for name in recipe_names())
    recipes = "\n".join(f"  {name:{width}s} {headline(name)}" for name in recipe_names())
    methods = "\n".join(
        f"keys of --method {method}: {_keys(model_parser(method))}" for method in METHODS
    )
    return (
        f"usage: {_USAGE}\n\n"
        f"Train a model by a recipe into a new run folder.\n\nrecipes:\n{recipes}\n\n"
        "--seeds N (of --method matching) trains the reconstruction phase once, into "
        "RUN/reconstruction,\nand the matching phase N times from there, into RUN/seed0, "
        "RUN/seed1, ...\n\n"
        "keys, each also allowed in a recipe or in --config FILE "
        "(--data NAME is short for --data.source NAME):\n\n"
        f"{_keys(config_parser())}\n{methods}\n{_networks()}"
    )


def _networks() -> str:
    """Help of the fields of a network, with the methods that have them."""
    users: dict[str, list[str]] = {}
    for method in METHODS:
        users.setdefault(_keys(network_parser(method)), []).append(method)
    return "\n".join(
        f"keys of --model.network, where --method is {', '.join(methods)}; on top of the name of a "
        f"preset they change single fields of it: {text}"
        for text, methods in users.items()
    )


def _keys(parser: ArgumentParser) -> str:
    """Help of a parser without its line of usage, and without options that genrev has not."""
    text = parser.format_help().split("\n\n", 1)[-1]
    return re.sub(r"  --\S+(\.help +Show the help| CONFIG\s+Path to a).*\n\n?", "", text)
