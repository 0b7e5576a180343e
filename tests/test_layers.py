"""Imports between packages only go down."""

import ast
from pathlib import Path

import pytest

import genrev

ROWS = [
    {"cli"},
    {"app"},
    {"bench"},
    {"recipes"},
    {"training"},
    {"figures"},
    {"evaluation", "export"},
    {"sharing"},
    {"models"},
    {"networks"},
    {"objectives"},
    {"reversible", "priors", "data"},
    {"files"},
    {"registry", "options"},
    {"errors", "threads", "seeding"},
]
LEVEL = {package: level for level, row in enumerate(ROWS) for package in row}
SOURCE = Path(genrev.__file__).parent
FILES = [p for p in sorted(SOURCE.rglob("*.py")) if p.parent != SOURCE or p.stem in LEVEL]


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction"
            names = [node.module]
            if node.module == "genrev":
                names = [f"genrev.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("genrev."):
                yield name.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    for other in set(imported_packages(path)) - {own}:
        assert LEVEL[own] < LEVEL[other], f"{own} must not import {other}"
