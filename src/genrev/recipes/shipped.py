"""The recipes that come with genrev: one YAML file per experiment.

Nothing here imports PyTorch, so that listing and misspelling a recipe are answered at once.
"""

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Any

from genrev.errors import GenrevError
from genrev.files.paths import expand
from genrev.files.readers import read_yaml_mapping


def recipe_names() -> list[str]:
    """Names of all shipped recipes, in alphabetical order."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def headline(name: str) -> str:
    """What a shipped recipe is, in one line: the first comment of its file."""
    first = (_folder() / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
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
    path = expand(name)
    if path.is_file():
        return path.stem, read_yaml(path)
    near = difflib.get_close_matches(name, recipe_names(), n=1)
    hint = f"did you mean {near[0]}? There are" if near else "give a YAML file or one of"
    raise GenrevError(f"There is no recipe {name!r}; {hint} {', '.join(recipe_names())}.")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of a mapping.

    Raises:
        GenrevError: no such file, or not what ``read_yaml_mapping`` takes.
    """
    try:
        return read_yaml_mapping(expand(path))
    except OSError as error:
        raise GenrevError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise GenrevError(f"{path} is not valid YAML of a configuration: {error}.") from error


def _folder() -> Path:
    return Path(str(files("genrev.recipes")))
