"""The commands that train: `train`, `resume`, and `recipes`, which lists what to train.

``train`` takes every key of a recipe as an option, so it reads its arguments itself. PyTorch and
more come with most imports inside functions, and a wrong line is answered without.
"""

import argparse
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genrev.cli.terminal import (
    EndedBySignal,
    print_result,
    waiting,
)
from genrev.errors import GenrevError
from genrev.extras import require
from genrev.files.locking import is_first_process, require_free
from genrev.files.paths import expand, quoted
from genrev.recipes.shipped import headline, read_recipe, read_yaml, recipe_names, require_spelt
from genrev.registry import plugin_options, plugins_loaded

if TYPE_CHECKING:
    from genrev.training import RunConfig

_FEATURES, _STEPS = "trainer.frechet_features", "trainer.max_steps"
_USAGE = "genrev train RECIPE [--config FILE] [--KEY VALUE ...] [--from RUN] [--seeds N] --out RUN"
_WIDTH = 88  # of what is told of a key


def run_train(arguments: Sequence[str]) -> None:
    rest = [token for token in arguments if token not in ("--help", "-h")]
    if len(rest) < len(arguments):
        print(_help_of(read_line(rest)) if rest else _help())
        return
    require("train")
    line = read_line(arguments)
    out = out_folder(line)
    if is_first_process():  # further ranks are started by the same command
        require_free(out)  # before imports that take seconds
    with waiting("importing PyTorch and Lightning"):
        config = _config(line)
        from genrev.evaluation import trust
        from genrev.training import train

    if _FEATURES in line.keys:
        trust(line.keys[_FEATURES])
    require_trusted_features(
        config, " with ".join([line.recipe, *line.files]), f"add --{_FEATURES} "
    )
    if line.start is None:
        _train(train, config, out, line.seeds)
        return
    if line.seeds is not None:
        raise GenrevError("--from and --seeds exclude each other; leave one of them out.")
    from genrev.models import load

    _train(partial(train, init=load(line.start)), config, out, None)


def run_resume(options: argparse.Namespace) -> None:
    if not options.run.is_dir():  # told before imports that take seconds
        raise GenrevError(f"{options.run} is not a run folder: there is no such folder.")
    with waiting("importing PyTorch and Lightning"):
        from genrev.evaluation import trust
        from genrev.recipes import parse_config, read_run_config
        from genrev.training import SEEDS_FILE, resume

    if options.trust is not None:
        trust(options.trust)
    run, plan, seeds = options.run, options.run / SEEDS_FILE, None
    if not plan.is_file():
        config = read_run_config(run)
    else:
        planned = read_yaml(plan)
        seeds, values = planned.get("seeds"), planned.get("config")
        if not isinstance(seeds, int) or not isinstance(values, dict):
            raise GenrevError(
                f"{plan} was not written by `genrev train --seeds`, or was edited since."
            )
        config = parse_config(values, str(plan))
    changes = {"max_steps": options.steps, "accelerator": options.device}
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes:
        if seeds is not None:
            option = "--device" if options.steps is None else f"--{_STEPS}"
            raise GenrevError(
                f"{run} holds several runs; name a single one with {option}, such as "
                f"{quoted(run / 'seed0')}."
            )
        values = {**dict(config.trainer), **changes}
        trainer = type(config.trainer).parse(values, "trainer", "the command line")
        config = config.replace(trainer=trainer)
    require_trusted_features(config, str(run), f"say `genrev resume {quoted(run)} --trust ", "`")
    _train(resume, config, run, seeds)


def run_recipes(options: argparse.Namespace) -> None:
    from genrev.files.readers import dump_yaml

    if options.name is not None:
        _, values = read_recipe(options.name)
        print_result(options, values, dump_yaml(values).removesuffix("\n"))
    else:
        print_result(options, {name: headline(name) for name in recipe_names()}, _recipe_list())


def read_arguments(arguments: Sequence[str]) -> "tuple[RunConfig, Path]":
    """Recipe, then --config files, then single keys, each on top of the one before; and --out."""
    line = read_line(arguments)
    return _config(line), out_folder(line)


class Line(NamedTuple):
    """The arguments of ``train``, sorted by kind; ``search`` has others of its own."""

    recipe: str
    files: list[str]
    keys: dict[str, str]
    out: str | None
    seeds: int | None
    start: str | None = None
    command: str = "train"


def read_line(arguments: Sequence[str], command: str = "train") -> Line:
    """Sort arguments: a recipe, files of --config, --out, --from, --seeds, keys of the recipe."""
    recipes, files, keys = [], [], {}
    for key, value in _tokens(arguments):
        if key is None:
            recipes.append(value)
        elif key == "config":
            files.append(value)
        else:
            keys[key] = value
    if len(recipes) != 1:
        given = f"got {' and '.join(recipes)}" if recipes else "got none"
        raise GenrevError(
            f"`genrev {command}` takes one recipe and {given}; choose from "
            f"{', '.join(recipe_names())}, or give a YAML file."
        )
    if "device" in keys:  # as all other commands have it
        keys.setdefault("trainer.accelerator", keys.pop("device"))
    out, seeds, start = (keys.pop(name, None) for name in ("out", "seeds", "from"))
    if seeds is not None and not (seeds.isdecimal() and int(seeds) >= 1):
        raise GenrevError(f"--seeds takes a number of 1 or more and got {seeds!r}.")
    number = None if seeds is None else int(seeds)
    return Line(recipes[0], files, keys, out, number, start, command)


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


def _config(line: Line) -> "RunConfig":
    name, values, source = recipe_values(line)
    from genrev.recipes import parse_config

    return parse_config({**values, "recipe": name}, source)


def recipe_values(line: Line) -> tuple[str, dict[str, Any], str]:
    """Name and values of the recipe with those of the line, and where these come from, in words."""
    name, values = read_recipe(line.recipe)
    source = f"recipe {name}"
    files = [(file, read_yaml(expand(file, "--config"))) for file in line.files]
    if not plugins_loaded():
        require_spelt(_flat(values), source)
        for file, over in files:
            require_spelt(_flat(over), f"{source} with {file}")
        require_spelt(line.keys, f"{source} with the command line")
    from genrev.recipes.parsing import merge, set_key

    for file, over in files:
        values = merge(values, over)
        source += f" with {file}"
    if line.keys:
        source += " with the command line"
    overrides: dict[str, Any] = {}
    for key, value in line.keys.items():
        set_key(overrides, key, value)
    return name, merge(values, overrides), source


def _flat(values: dict[str, Any]) -> Iterator[str]:
    """Dotted keys of nested values."""
    for section, part in values.items():
        if isinstance(part, dict):
            yield from (f"{section}.{option}" for option in part)
        yield str(section)


def out_folder(line: Line) -> Path:
    """The folder of --out, which has to be there."""
    if line.out is None:
        name = Path(line.recipe).stem
        what = "the run" if line.command == "train" else f"the {line.command}"
        raise GenrevError(
            f"`genrev {line.command}` needs a folder for {what}; add --out "
            f"{quoted(f'runs/{name}')}."
        )
    return expand(line.out, "--out")


def require_trusted_features(
    config: "RunConfig", source: str, before: str, after: str = ""
) -> None:
    """Check that the user has named the features that will run; the cure has them in between."""
    from genrev.evaluation import require_trusted

    features = config.trainer.frechet_features
    if features is not None and config.trainer.frechet_every is not None:
        require_trusted(features, source, f"{before}{quoted(features)}{after}")


def _train(start: Callable[..., Any], config: "RunConfig", out: Path, seeds: int | None) -> None:
    """Train by ``start``, or by several seeds; then say where models are, or how to go on."""
    from genrev.training import stopping_signal, train_several

    finished = (
        start(config, out) is not None if seeds is None else train_several(config, out, seeds)
    )
    if not is_first_process():
        return
    run, plugins = quoted(out), plugin_options()
    if seeds and finished:
        print(f"The trained models are in {out}/seed0 and so on. Next:")
        print(f"  genrev figures {run}\n  genrev evaluate {quoted(out / 'seed0')}")
    elif seeds:
        print(f"All that is missing follows by: genrev resume {run}")
    elif finished:
        print(f"The trained model is in {out}. Next:")
        print(f"  genrev sample {run} -n 100 --out samples.png{plugins}")
        print(f"  genrev evaluate {run}{plugins}\n  genrev figures {run}{plugins}")
    if not finished:
        raise EndedBySignal(stopping_signal(), told=True)


def _recipe_list() -> str:
    width = max(map(len, recipe_names()))
    return "\n".join(f"{name:{width}s}  {headline(name)}" for name in recipe_names())


def _help() -> str:
    return (
        f"usage: {_USAGE}\n\n"
        "Train a model by a recipe into a new run folder.\n\n"
        f"recipes:\n{textwrap.indent(_recipe_list(), '  ')}\n\n"
        "options:\n"
        "  --out RUN      the run folder, new or empty\n"
        "  --config FILE  YAML with values that replace those of the recipe\n"
        "  --KEY VALUE    replaces one of them: --data FOLDER, --trainer.max_steps 100\n"
        "  --from RUN     start from the weights of a trained model, as `genrev sample` names it\n"
        "  --device NAME  short for --trainer.accelerator NAME: auto, cpu, cuda or mps\n"
        "  --seeds N      (of --method matching) trains the reconstruction phase once, into\n"
        "                 RUN/reconstruction, and the matching phase N times from there, into\n"
        "                 RUN/seed0, RUN/seed1, ...\n"
        "  --plugin FILE  Python that registers methods, priors, networks, ... of your own\n\n"
        "`genrev train RECIPE --help` lists the keys of a recipe with its values."
    )


def _help_of(line: Line) -> str:
    """Every key of a recipe: its value here, what it takes, and what it is."""
    config = _config(line)
    from genrev.options import allowed
    from genrev.recipes import keys_of
    from genrev.recipes.parsing import SECTIONS

    told = headline(line.recipe) if line.recipe in recipe_names() else "your recipe"
    plain, text = config.plain(), [f"usage: {_USAGE}", "", f"{line.recipe}: {told}"]
    for section in ("", *SECTIONS):  # a method of somebody else's may have no options
        text += ["", _title(section, config)]
        for key, info in keys_of(config):
            name, _, option = key.rpartition(".")
            if name == section:
                value = plain[section][option] if section else plain[option]
                text.append(f"  --{key} {json.dumps(value, ensure_ascii=False)}")
                words = " ".join(f"{info.description or ''} Takes {allowed(info)}.".split())
                filled = textwrap.fill(words, _WIDTH, break_on_hyphens=False)
                text.append(textwrap.indent(filled, " " * 8))
    return "\n".join(text)


def _title(section: str, config: "RunConfig") -> str:
    """A section's name, what is chosen there, and what else could be."""
    from genrev.recipes.parsing import CHOSEN

    if section not in CHOSEN:
        return f"{section}:" if section else "the run:"
    registry = CHOSEN[section]
    names, chosen = ", ".join(registry.names()), getattr(config, section).name
    summary = "".join((registry[chosen].__doc__ or "").strip().splitlines()[:1])
    option = "network.kind" if section == "network" else section
    return f"{section}: {chosen} (--{option} takes {names}). {summary}"
