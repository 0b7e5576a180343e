"""The ``genrev`` command."""

import argparse
import ast
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from genrev.cli.terminal import EndedBySignal, print_in_any_encoding, signals_as_exceptions
from genrev.errors import GenrevError
from genrev.registry import load_plugin
from genrev.threads import keep_freed_memory, spin_briefly, use_free_cores

_COMMANDS = (
    "train",
    "resume",
    "recipes",
    "sample",
    "reconstruct",
    "interpolate",
    "traverse",
    "figures",
    "app",
    "evaluate",
    "compare",
    "fit-prior",
    "export",
    "push",
    "bench",
)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_STEPPING = ("train", "resume", "bench")  # commands that run training steps
# Training chooses by the size of its batch and keeps to it, the app has one thread for all
# sessions, and a benchmark measures what PyTorch does by itself.
_WITH_FREE_CORES = (
    "sample",
    "reconstruct",
    "interpolate",
    "traverse",
    "figures",
    "evaluate",
    "compare",
    "fit-prior",
    "export",
)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, like all others of genrev."""

    def error(self, message: str) -> NoReturn:
        raise GenrevError(f"{message}; see `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: arguments; by default those of the process.

    Returns:
        The exit status: 0, or 2 after bad input, which is told in one sentence on stderr, or 128
        and the number of the signal that ended the command.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.formatwarning = _one_line
    print_in_any_encoding()
    try:
        with signals_as_exceptions():
            _run(arguments)
            sys.stdout.flush()
    except GenrevError as error:
        print(f"genrev: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("genrev: interrupted.", file=sys.stderr)
        return 130
    except EndedBySignal as ended:
        print(f"genrev: ended by {ended}.", file=sys.stderr)
        return 128 + ended.number
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        where = error.filename or "a file, or what is printed,"
        print(f"genrev: {where} cannot be written ({error.strerror}).", file=sys.stderr)
        return 2
    return 0


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning as its sentence, without the line of Python that issued it."""
    return f"genrev: warning: {message}\n"


def _run(arguments: list[str]) -> None:
    if arguments[:1] != ["bench"]:
        spin_briefly()
    if arguments[:1] and arguments[0] in _STEPPING:
        keep_freed_memory()
    arguments = _without_plugins(arguments)
    # The keys of a recipe are not argparse's business: `train` reads its arguments itself.
    if arguments[:1] == ["train"]:
        _module("train").run_arguments(arguments[1:])
        return
    options = _parser(arguments[0] if arguments else None).parse_args(arguments)
    if options.command in _WITH_FREE_CORES:
        use_free_cores()
    _module(options.command).run(options)


def _module(command: str) -> ModuleType:
    """The module of a command, imported when it is asked for: some take seconds."""
    return import_module(f"genrev.cli.{command.replace('-', '_')}")


def _without_plugins(arguments: list[str]) -> list[str]:
    """Import the files of all --plugin FILE, wherever they stand, and take them out."""
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
    for file in files:
        load_plugin(file)
    return rest


def _parser(asked: str | None) -> argparse.ArgumentParser:
    """The parser; only the command that is asked for is imported, since some take seconds."""
    parser = _Parser(
        prog="genrev",
        description="Generative models that are invertible by construction.",
        epilog="`genrev COMMAND --help` tells more about one command. Every command takes --plugin "
        "FILE, Python that registers methods, priors, networks, metrics, sources or figures of "
        "your own.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"genrev {version('genrev')}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Parser
    )
    for name in [asked] if asked in _COMMANDS else _COMMANDS:
        summary = _summary(name)
        sub = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == asked:
            _module(name).configure(sub)
    return parser


def _summary(command: str) -> str:
    """First line of the docstring of a command's module, which is not imported for it."""
    source = Path(__file__).with_name(f"{command.replace('-', '_')}.py").read_text("utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
