"""The recipes that come with genrev: one YAML file per experiment."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from genrev.errors import GenrevError
from genrev.files.paths import expand
from genrev.recipes.schema import merge, parse_config, read_yaml
from genrev.training import RunConfig

__all__ = ["headline", "load_recipe", "read_recipe", "recipe_names"]


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
    raise GenrevError(
        f"There is no recipe {name!r}; give a YAML file or one of {', '.join(recipe_names())}."
    )


def load_recipe(name: str, changes: dict[str, Any] | None = None) -> RunConfig:
    """A recipe as ``train`` takes it, with some of its values changed.

    Args:
        name: a shipped recipe, or the path of a YAML file.
        changes: nested as in the file; they replace its values key by key.

    Raises:
        GenrevError: no such recipe, an unknown key, or a value of the wrong type.

    Example:
        >>> config = load_recipe("digits", {"trainer": {"max_steps": 300}})
        >>> config.recipe, config.trainer.max_steps, config.batch_size
        ('digits', 300, 400)
    """
    recipe, values = read_recipe(name)
    source = f"recipe {recipe} with changes" if changes else f"recipe {recipe}"
    return parse_config({**merge(values, changes or {}), "recipe": recipe}, source)


def _folder() -> Path:
    return Path(str(files("genrev.recipes")))
