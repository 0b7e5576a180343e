"""Misspelt keys, told before anything slow is imported.

What options there are follows from classes, and most of these come with PyTorch, which takes
seconds to import. A key that no class of genrev has is told from the classes' source text alone.
"""

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files

from genrev.errors import GenrevError

_HOMES = {
    "data": ["data/config.py"],
    "network": ["networks"],
    "prior": ["priors"],
    "method": ["training/methods"],
    "trainer": ["training/config.py"],
    "engine": ["training/config.py"],
    "optimizer": ["training/config.py"],
}
_CHOICES = ("source", "preset", "kind", "name")


def require_spelt(keys: Iterable[str], source: str) -> None:
    """Raise ``GenrevError`` for a key that no network, prior, method or section has.

    A key that passes may still be wrong beside others; ``parse_config`` says so.

    Args:
        keys: dotted, as on the command line.
        source: where they come from, for the message.
    """
    known = {section: [*_CHOICES, *sorted(set(_options(section)))] for section in _HOMES}
    for key in keys:
        section, _, name = key.partition(".")
        if name and section in known and name not in known[section]:
            told = nearest(section, name, known)
            raise GenrevError(f"{source} sets {key}, which genrev does not know; {told}")


def nearest(section: str, name: str, known: Mapping[str, Sequence[str]]) -> str:
    """What may have been meant: most slips are in the option, then it is in another section.

    Args:
        section: of the option, and
        name: that is not there.
        known: options of all sections.
    """
    near = [f"{section}.{n}" for n in difflib.get_close_matches(name, known[section], n=1)]
    near = near or [f"{other}.{name}" for other in reversed(list(known)) if name in known[other]]
    every = {n: f"{other}.{n}" for other, names in known.items() for n in names}
    near = near or [every[n] for n in difflib.get_close_matches(name, every, n=1)]
    return f"did you mean --{near[0]}?" if near else "see `genrev train RECIPE --help` for all."


def _options(section: str) -> Iterator[str]:
    """Names of the fields of all classes of options of a section."""
    for home in _HOMES[section]:
        place = files("genrev").joinpath(home)
        for file in place.iterdir() if place.is_dir() else [place]:
            if file.name.endswith(".py"):
                tree = ast.parse(file.read_text(encoding="utf-8"))
                yield from _fields(tree, f"{section}options" if len(_shared(home)) > 1 else "")


def _shared(home: str) -> list[str]:
    """Sections whose classes stand in the same file."""
    return [section for section, homes in _HOMES.items() if home in homes]


def _fields(tree: ast.Module, only: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or not node.name.endswith(("Options", "Config")):
            continue
        if only and node.name.lower() != only:
            continue
        for line in node.body:
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                yield line.target.id
