"""Imports only go down, between packages and between files."""

import ast
from functools import cache
from pathlib import Path

import pytest

import genrev

ROWS = [
    {"cli"},
    {"app"},
    {"bench", "searching"},
    {"recipes"},
    {"training"},
    {"figures"},
    {"evaluation", "export"},
    {"models"},
    {"sharing"},
    {"networks"},
    {"objectives"},
    {"reversible", "priors", "data"},
    {"files"},
    {"registry", "options", "extras"},
    {"errors", "threads", "seeding", "progress", "words"},
]
LEVEL = {package: level for level, row in enumerate(ROWS) for package in row}
SOURCE = Path(genrev.__file__).parent
FILES = [p for p in sorted(SOURCE.rglob("*.py")) if p.parent != SOURCE or p.stem in LEVEL]
MODULES = {
    "genrev." + ".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in FILES
}


@cache
def imported(path):
    """Names of genrev's modules, and of what is taken from packages, that a file imports.

    Imports inside functions count, since they would hide a circle. Imports for type checkers
    count as well: a reader follows them like all others.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(name for name in names if name.startswith("genrev."))


def home(name):
    """The file that an imported name stands for: a module, or the package it is taken from."""
    while name not in MODULES and f"{name}.__init__" not in MODULES and "." in name:
        name = name.rpartition(".")[0]
    return MODULES.get(name, MODULES.get(f"{name}.__init__"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for other in {name.split(".")[1] for name in imported(path)} - {own}:
        if other in LEVEL:  # else a name of the package itself
            assert LEVEL[own] < LEVEL[other], f"{own} must not import {other}"


def test_no_file_imports_itself_by_way_of_others():
    """Files that only hand names on (``__init__``) count as what they hand on."""
    below = {path: {home(name) for name in imported(path)} - {None, path} for path in FILES}
    done, path_there = set(), []

    def visit(path):
        if path in path_there:
            circle = [str(p.relative_to(SOURCE)) for p in path_there[path_there.index(path) :]]
            pytest.fail(f"a circle of imports: {' > '.join(circle)}")
        if path in done:
            return
        path_there.append(path)
        for other in sorted(below[path]):
            visit(other)
        path_there.pop()
        done.add(path)

    for path in FILES:
        visit(path)
