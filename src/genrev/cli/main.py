"""The ``genrev`` command."""

import argparse
import difflib
import errno
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from genrev import __version__
from genrev.cli import parsers
from genrev.cli.terminal import (
    EndedBySignal,
    print_in_any_encoding,
    signals_as_exceptions,
    waiting,
)
from genrev.errors import GenrevError
from genrev.registry import load_plugin
from genrev.threads import is_of_memory, keep_freed_memory, spin_briefly, use_free_cores

# What commands do, by the module of each, which has ``run_COMMAND``. Only that of the command that
# is asked for is imported, since most take seconds; what a command takes is in ``cli.parsers``.
_SUMMARIES = {
    "train": {
        "train": "Train a model by a recipe into a new run folder.",
        "resume": "Go on with an interrupted run, or with several by --seeds, as if nothing had "
        "happened.",
        "recipes": "List the recipes that come with genrev, or print one.",
    },
    "search": {
        "search": "Search for the options of a recipe that give the lowest Fréchet distance."
    },
    "pictures": {
        "sample": "Draw samples from a trained model into a picture, an array or single images.",
        "reconstruct": "Show images beside their restricted and full reconstructions (Figure 6).",
        "interpolate": "Walk between pairs of images through the latent space (Figures 7 and 8).",
        "traverse": "Move along single latent dimensions (Figures 9 and 12).",
        "figures": "Draw all figures of a run into RUN/figures; of a folder of seeds, their "
        "learning curves.",
    },
    "app": {
        "app": "Explore trained models in the browser: samples, sliders, reconstructions, "
        "interpolations."
    },
    "measure": {
        "evaluate": "Measure a model: reconstruction, latent fit, Fréchet and kernel distance, "
        "precision, recall.",
        "compare": "Compare trained models in one table, the paper's Table 1, and one picture.",
        "distance": "Measure the distance between two sets of images: folders, arrays, data, runs.",
    },
    "fit_prior": {
        "fit-prior": "Fit a mixture of Gaussians or a flow to a model's encodings, as its prior."
    },
    "share": {
        "export": "Write a model as a program for other software: ONNX, torch.export, or weights "
        "alone.",
        "push": "Share a model on the Hugging Face hub, with a model card written from the run.",
    },
    "bench": {"bench": "Measure speed and memory against named peers, interleaved in one run."},
}
_MODULES = {command: module for module, commands in _SUMMARIES.items() for command in commands}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_STEPPING = ("train", "resume", "search", "bench")  # commands that run training steps
# Training chooses by the size of its batch and keeps to it, a benchmark measures what PyTorch does
# by itself, the app has one thread for all sessions, and the others compute little or nothing.
_WITHOUT_FREE_CORES = (*_STEPPING, "app", "recipes", "push")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, like all others of genrev."""

    def error(self, message: str) -> NoReturn:
        raise GenrevError(f"{message}; see `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0, 2 after bad input, or 128 and the number of the signal that ended it."""
    warnings.formatwarning = lambda message, *_: f"genrev: warning: {message}\n"
    print_in_any_encoding()
    try:
        with signals_as_exceptions():
            _run(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
    except GenrevError as error:
        print(f"genrev: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genrev: interrupted.", file=sys.stderr)
        return 130
    except EndedBySignal as ended:
        if not ended.told:
            print(f"genrev: ended by {ended}.", file=sys.stderr)
        return 128 + ended.number
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        print(
            "genrev: What was asked for does not fit into memory; ask for fewer or smaller images, "
            "or end what else uses it.",
            file=sys.stderr,
        )
        return 2
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        where = error.filename or "a file, or what is printed,"
        print(
            f"genrev: {where} cannot be written ({error.strerror}); see that there is room, and "
            "that you may write there.",
            file=sys.stderr,
        )
        return 2
    return 0


def _run(arguments: list[str]) -> None:
    arguments, plugins = _without_plugins(arguments)
    command = arguments[0] if arguments else None
    if command != "bench":
        spin_briefly()
    if command in _STEPPING:
        keep_freed_memory()
    for file in plugins:
        load_plugin(file)
    if command in ("train", "search"):  # the keys of a recipe are not argparse's business
        _run_of(command)(arguments[1:])
        return
    parser = _parser(command)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        told = f"`genrev {options.command}`"
        near = _nearest(unknown[0], parser, options.command)
        meant = f"did you mean {near}? See" if near else "see"
        raise GenrevError(f"{told} does not take {' '.join(unknown)}; {meant} {told[:-1]} --help`.")
    _run_of(options.command)(options)


def _nearest(option: str, parser: argparse.ArgumentParser, command: str) -> str | None:
    """The option of a command that a misspelt one may stand for."""
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    known = list(commands.choices[command]._option_string_actions)
    if not option.startswith("-"):
        return None
    close = difflib.get_close_matches(option.partition("=")[0], known, 1)
    return close[0] if close else None


def _run_of(command: str) -> Callable[[Any], None]:
    with waiting("importing PyTorch"):
        if command not in _WITHOUT_FREE_CORES:
            use_free_cores()
        module = import_module(f"genrev.cli.{_MODULES[command]}")
    function: Callable[[Any], None] = getattr(module, f"run_{_word(command)}")
    return function


def _word(command: str) -> str:
    return command.replace("-", "_")


def _without_plugins(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The other arguments, and the files of all --plugin FILE, wherever they stand."""
    rest, files, tokens = [], [], iter(arguments)
    for token in tokens:
        if token == "--plugin":
            file = next(tokens, None)
            if file is None:
                raise GenrevError("--plugin needs a value; write --plugin FILE.")
            files.append(file)
        elif token.startswith("--plugin="):
            files.append(token.removeprefix("--plugin="))
        else:
            rest.append(token)
    return rest, files


def _parser(asked: str | None) -> argparse.ArgumentParser:
    """The parser of the command that is asked for, or else of all, without their arguments."""
    parser = _Parser(
        prog="genrev",
        description="Generative models that are invertible by construction.",
        epilog="`genrev COMMAND --help` tells more about one command. Every command takes --plugin "
        "FILE, Python that registers methods, priors, networks, metrics, sources or figures of "
        "your own.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"genrev {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Parser
    )
    for name in [asked] if asked in _MODULES else _MODULES:
        summary = _SUMMARIES[_MODULES[name]][name]
        sub = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == asked:
            configure = getattr(parsers, f"configure_{_word(name)}", None)
            if configure is not None:
                configure(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
