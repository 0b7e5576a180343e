"""The command `search`: trials of a recipe, which take keys as `train` does, and the best one."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genrev.cli.terminal import EndedBySignal, print_result, waiting
from genrev.cli.train import (
    Line,
    out_folder,
    read_line,
    recipe_values,
    require_trusted_features,
)
from genrev.errors import GenrevError
from genrev.extras import require
from genrev.files.paths import quoted
from genrev.recipes.shipped import require_spelt
from genrev.registry import plugin_options, plugins_loaded

if TYPE_CHECKING:
    from genrev.searching import Search

_USAGE = "genrev search RECIPE --over KEY=VALUES [KEY=VALUES ...] --minutes N --out DIR"
_FEATURES = "trainer.frechet_features"
_SHORT = {"steps": "trainer.max_steps", "features": _FEATURES}
_HELP = """\
Search for the options of a recipe that give the lowest Fréchet distance. Each trial is a run in
DIR/trials, compared with the others after a ninth, a third and all of its steps: the best third
goes on, the others stop. The first trial has the recipe's own values, where VALUES hold them.
The same command again goes on, and several at once share the work. Needs Optuna:
`pip install "genrev[search]"`.

options:
  --over KEY=VALUES  what is searched: one of some values (batch_size=64,128), a number in between
                     (prior.active_dims=16..64), or that on a logarithmic scale
                     (optimizer.lr=log:1e-4..1e-2); may be given several times
  --minutes N        wall time of this call
  --trials N         end after so many trials in all
  --steps N          length of a trial; by default the recipe's --trainer.max_steps
  --metric frechet   what trials are compared by: samples of the model against training images
  --features FILE    TorchScript file whose features are compared (--trainer.frechet_features)
  --out DIR          folder of the search: trials.csv, trials.png, best.yaml, trials/000, ...
  --config FILE      YAML with values that replace those of the recipe
  --KEY VALUE        replaces one of them in all trials: --data FOLDER, --trainer.max_minutes 5
  --plugin FILE      Python that registers methods, priors, networks, ... of your own
  --json             print JSON

`genrev train RECIPE --help` lists the keys of a recipe."""


def run_search(arguments: Sequence[str]) -> None:
    if {"--help", "-h"} & set(arguments):
        print(f"usage: {_USAGE}\n\n{_HELP}")
        return
    require("search")
    options = argparse.Namespace(json="--json" in arguments)
    over, rest = _without_over([token for token in arguments if token != "--json"])
    line = _written_out(read_line(rest, "search"))
    minutes, trials = _number(line, "minutes", float), _number(line, "trials", int)
    metric, out = line.keys.pop("metric", "frechet"), out_folder(line)
    if not plugins_loaded():
        require_spelt(over, f"recipe {Path(line.recipe).stem} with --over")
    with waiting("importing PyTorch and Lightning"):
        name, values, source = recipe_values(line)
        from genrev.evaluation import trust
        from genrev.recipes import parse_config
        from genrev.searching import Limits, search_values
        from genrev.training import stopping_signal

    if _FEATURES in line.keys:
        trust(line.keys[_FEATURES])
    config = parse_config({**values, "recipe": name}, source)
    # Features that the recipe names are used even where it says not how often.
    config = config.replace(trainer=config.trainer.replace(frechet_every=1))
    require_trusted_features(config, " with ".join([line.recipe, *line.files]), "add --features ")
    limits = Limits(minutes, None if trials is None else int(trials))
    found = search_values(name, values, source, out, over, limits, metric)
    again = f"genrev search {shlex.join(arguments)}{plugin_options()}"
    print_result(options, found.plain(), _told(found, again))
    if not found.finished:
        raise EndedBySignal(stopping_signal(), told=True)


def _told(found: "Search", again: str) -> str:
    """The table, where the best recipe is, and how to go on."""
    from genrev.searching.results import BEST_FILE, PLOT_FILE, TABLE_FILE

    if found.best is None:
        next_steps = f"No trial has finished yet; go on with:\n  {again}"
    else:
        best = quoted(found.folder / BEST_FILE)
        next_steps = (
            f"The best recipe is {best}, beside it are {TABLE_FILE} and {PLOT_FILE}. Next:\n"
            f"  genrev train {best} --out {quoted(found.folder / 'best')}{plugin_options()}\n"
            f"  genrev figures {quoted(found.best.run)}{plugin_options()}\nGo on with:\n  {again}"
        )
    stopped = "" if found.finished else "Stopped by a signal; what was done is kept.\n"
    return f"{found.text()}\n{stopped}{next_steps}"


def _without_over(tokens: list[str]) -> tuple[dict[str, str], list[str]]:
    """What is searched by key, from each KEY=VALUES behind an --over; and the other arguments."""
    over, rest, searched, first = dict[str, str](), list[str](), False, False
    for token in tokens:
        if token.startswith("--over="):
            token, searched, first = token.removeprefix("--over="), True, True
        elif token == "--over":
            searched = first = True
            continue
        key, equals, values = token.partition("=")
        searched = searched and not token.startswith("-") and bool(equals or first)
        if not searched:
            rest.append(token)
        elif not (key and equals):
            raise GenrevError(
                f"--over takes KEY=VALUES, optimizer.lr=log:1e-4..1e-2 for one, and got {token!r}."
            )
        elif key in over:
            raise GenrevError(f"--over has {key} twice; put all its values behind one {key}=.")
        else:
            over[key] = values
        first = False
    return over, rest


def _written_out(line: Line) -> Line:
    """The line with short options as the keys that they stand for."""
    if line.seeds is not None:
        raise GenrevError("--seeds is for `genrev train`; all trials of a search have one --seed.")
    if line.start is not None:
        raise GenrevError("--from is for `genrev train`; all trials of a search begin anew.")
    keys: dict[str, str] = {}
    for key, text in line.keys.items():
        whole = _SHORT.get(key, key)
        if whole in keys:
            raise GenrevError(f"--{key} and --{whole} are one option; leave one of them out.")
        keys[whole] = text
    return line._replace(keys=keys)


def _number(line: Line, name: str, kind: type[float] | type[int]) -> float | int | None:
    text = line.keys.pop(name, None)
    try:
        return None if text is None else kind(text)
    except ValueError as error:
        what = "a whole number of 1 or more" if kind is int else "a number above 0"
        raise GenrevError(f"--{name} takes {what} and got {text!r}.") from error
