"""The recipes that come with genrev: one YAML file per experiment."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from genrev.errors import GenrevError
from genrev.recipes.schema import read_yaml

__all__ = ["headline", "read_recipe", "recipe_names"]


def recipe_names() -> list[str]:
    """Names of all shipped recipes, in alphabetical order."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def headline(name: str) -> str:
    """What a shipped recipe is, in one line: the first comment of its file."""
    first = (_folder() / f"{name}.yaml").read_text().splitlines()[0]
    return first.removeprefix("#").strip()


def read_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """Read a shipped recipe by name, or any YAML file by path.

    Returns:
        The name of the recipe and its values.

    Raises:
        GenrevError: neither a shipped name nor a readable file.
    """
    shipped = _folder() / f"{name}.yaml"
    if name in recipe_names():
        return name, read_yaml(shipped)
    path = Path(name)
    if path.is_file():
        return path.stem, read_yaml(path)
    raise GenrevError(
        f"There is no recipe {name!r}; give a YAML file or one of {', '.join(recipe_names())}."
    )


def _folder() -> Path:
    return Path(str(files("genrev.recipes")))
