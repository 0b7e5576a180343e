"""Train a model by a recipe into a new run folder.

This command takes every key of a recipe as an option, so it reads its arguments itself: one
positional RECIPE, and options that each have exactly one value.
"""

import argparse
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrev.errors import GenrevError
from genrev.files.paths import expand, quoted
from genrev.recipes.shipped import (
    headline,
    read_recipe,
    read_yaml,
    recipe_names,
    require_spelt,
)
from genrev.registry import plugins_loaded

if TYPE_CHECKING:
    from genrev.training import RunConfig

_FEATURES = "trainer.frechet_features"
_USAGE = "genrev train RECIPE [--config FILE] [--KEY VALUE ...] [--seeds N] --out RUN"
_WIDTH = 96


def configure(parser: argparse.ArgumentParser) -> None:
    """Only for the list of commands; see the module's text."""
    parser.usage = _USAGE


def run_arguments(arguments: Sequence[str]) -> None:
    """Read the arguments and train."""
    if "--help" in arguments or "-h" in arguments:
        rest = [token for token in arguments if token not in ("--help", "-h")]
        print(_help_of(_read_line(rest)) if rest else _help())
        return
    line = _read_line(arguments)
    out, config = _out(line), _config(line)
    # PyTorch and more come with what follows, and a wrong line is answered without.
    from genrev.cli.terminal import report_finished_run
    from genrev.training import is_first_process, train, train_several

    _check_features(line, config)
    if line.seeds is not None:
        report_seeds(out, train_several(config, out, line.seeds))
        return
    model = train(config, out)
    if model is not None and is_first_process():
        report_finished_run(out)


def read_arguments(arguments: Sequence[str]) -> "tuple[RunConfig, Path]":
    """Recipe, then --config files, then single keys, each on top of the one before.

    Raises:
        GenrevError: no or several recipes, no --out, an option without value, unknown keys, or
            values of the wrong type.
    """
    line = _read_line(arguments)
    return _config(line), _out(line)


def report_seeds(out: Path, finished: bool) -> None:
    """Say where the runs are and what to do with them, or how to go on."""
    from genrev.training import is_first_process

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


def _config(line: _Line) -> "RunConfig":
    name, values = read_recipe(line.recipe)
    source = f"recipe {name}"
    files = [(file, read_yaml(expand(file, "--config"))) for file in line.files]
    if not plugins_loaded():
        for file, over in [(name, values), *files]:
            require_spelt(_flat(over), f"{source} with {file}" if over is not values else source)
        require_spelt(line.keys, f"{source} with the command line")
    from genrev.recipes import merge, parse_config, set_key  # with PyTorch

    for file, over in files:
        values = merge(values, over)
        source += f" with {file}"
    if line.keys:
        source += " with the command line"
    overrides: dict[str, Any] = {}
    for key, value in line.keys.items():
        set_key(overrides, key, value)
    return parse_config({**merge(values, overrides), "recipe": name}, source)


def _flat(values: dict[str, Any]) -> Iterator[str]:
    """Dotted keys of nested values."""
    for section, part in values.items():
        if isinstance(part, dict):
            yield from (f"{section}.{option}" for option in part)
        yield str(section)


def _check_features(line: _Line, config: "RunConfig") -> None:
    from genrev.evaluation import require_trusted, trust

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
            if token.startswith("-"):
                raise GenrevError(f"There is no option {token}; those of a recipe begin with --.")
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
    return (
        f"usage: {_USAGE}\n\n"
        f"Train a model by a recipe into a new run folder.\n\nrecipes:\n{recipes}\n\n"
        "options:\n"
        "  --out RUN      the run folder, which must not exist yet\n"
        "  --config FILE  YAML with values that replace those of the recipe\n"
        "  --KEY VALUE    replaces one of them: --data FOLDER, --trainer.max_steps 100\n"
        "  --seeds N      (of --method matching) trains the reconstruction phase once, into\n"
        "                 RUN/reconstruction, and the matching phase N times from there, into\n"
        "                 RUN/seed0, RUN/seed1, ...\n"
        "  --plugin FILE  Python that registers methods, priors, networks, ... of your own\n\n"
        "`genrev train RECIPE --help` lists the keys of a recipe with its values."
    )


def _help_of(line: _Line) -> str:
    """Every key of a recipe: its value here, what it takes, and what it is."""
    config = _config(line)
    from genrev.options import allowed
    from genrev.recipes import keys_of
    from genrev.recipes.parsing import SECTIONS

    plain, text = config.plain(), [f"usage: {_USAGE}", "", f"{line.recipe}: {_headline(line)}"]
    for section in ("", *SECTIONS):  # a method of somebody else's may have no options
        text += ["", _title(section, config)]
        for key, info in keys_of(config):
            name, _, option = key.rpartition(".")
            if name == section:
                value = plain[section][option] if section else plain[option]
                text.append(f"  --{key} {json.dumps(value, ensure_ascii=False)}")
                words = f"{info.description or ''} Takes {allowed(info)}."
                text += textwrap.wrap(" ".join(words.split()), _WIDTH, **_INDENT)
    return "\n".join(text)


_INDENT: dict[str, Any] = {"initial_indent": " " * 8, "subsequent_indent": " " * 8}


def _headline(line: _Line) -> str:
    return headline(line.recipe) if line.recipe in recipe_names() else "your recipe"


def _title(section: str, config: "RunConfig") -> str:
    """A section's name, what is chosen there, and what else could be."""
    from genrev.recipes.parsing import CHOSEN

    if section not in CHOSEN:
        return f"{section}:" if section else "the run:"
    registry = CHOSEN[section].registry
    names, chosen = ", ".join(registry.names()), getattr(config, section).name
    summary = "".join((registry[chosen].__doc__ or "").strip().splitlines()[:1])
    option = "network.kind" if section == "network" else section
    return f"{section}: {chosen} (--{option} takes {names}). {summary}"
