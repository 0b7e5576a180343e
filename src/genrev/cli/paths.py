"""Paths among the arguments; ``~`` is a home folder, also where the shell left it as it is."""

import argparse
from pathlib import Path

from genrev.errors import GenrevError
from genrev.files.paths import expand

__all__ = ["name_or_path", "to_path"]


def to_path(text: str) -> Path:
    """The type of an argument that is a path."""
    try:
        return expand(text)
    except GenrevError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from error


def name_or_path(text: str) -> str:
    """The type of an argument that may be the name of something else as well."""
    return str(to_path(text)) if text.startswith("~") else text
