"""The recipes that come with genrev, one YAML file per experiment, and the spelling of keys.

Nothing here imports PyTorch, which takes seconds: a misspelt recipe or key is answered at once.
Most classes of options come with PyTorch, so a key that none has is told from their source text.
"""

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from genrev.errors import GenrevError
from genrev.files.paths import expand
from genrev.files.readers import read_yaml_mapping

_SOURCE = Path(__file__).parents[1]
_ALL = ("Options", "Config")
_HOMES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "data": [("data/config.py", _ALL)],
    "network": [("networks", _ALL)],
    "prior": [("priors", _ALL)],
    "method": [("training/methods", _ALL)],
    "trainer": [("training/config.py", ("TrainerOptions",))],
    "engine": [
        ("training/config.py", ("EngineOptions",)),
        ("reversible/engine/execution.py", ("Engine",)),
    ],
    "optimizer": [("training/config.py", ("OptimizerOptions",))],
}
_CHOICES = ("source", "preset", "kind", "name")
TOP = ("recipe", "seed", "batch_size")
"""Keys of a configuration outside of its sections."""


def recipe_names() -> list[str]:
    """Names of all shipped recipes, in alphabetical order."""
    return sorted(path.stem for path in (_SOURCE / "recipes").glob("*.yaml"))


def headline(name: str) -> str:
    """What a shipped recipe is, in one line: the first comment of its file."""
    first = (_SOURCE / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()


def read_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """Name and values of a shipped recipe, or of a YAML file; GenrevError where it is neither."""
    if name in recipe_names():
        return name, read_yaml(_SOURCE / "recipes" / f"{name}.yaml")
    path = expand(name)
    if path.is_file():
        return path.stem, read_yaml(path)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        beside = path.parent.glob("*.y*ml") if path.parent.is_dir() else ()
        near = difflib.get_close_matches(path.name, [other.name for other in beside], n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "check the path."
        raise GenrevError(f"There is no file {name} with a recipe; {hint}")
    near = difflib.get_close_matches(name, recipe_names(), n=1)
    hint = f"did you mean {near[0]}? There are" if near else "give a YAML file or one of"
    raise GenrevError(f"There is no recipe {name!r}; {hint} {', '.join(recipe_names())}.")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of a mapping; GenrevError where ``read_yaml_mapping`` does not take it."""
    try:
        return read_yaml_mapping(expand(path))
    except OSError as error:
        raise GenrevError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise GenrevError(f"{path} is not valid YAML of a configuration: {error}.") from error


def require_spelt(keys: Iterable[str], source: str) -> None:
    """Raise ``GenrevError`` for a dotted key that is wrong beside whatever others there are."""
    known = _known()
    for key in keys:
        section, _, name = key.partition(".")
        if section not in (*known, *TOP):
            raise unknown(source, section, None, known)
        if name and section in known and name not in known[section]:
            raise unknown(source, section, name, known)


def unknown(
    source: str, section: str, name: str | None, known: Mapping[str, Sequence[str]]
) -> GenrevError:
    """The error for a section, or an option of one, that is not among the known ones."""
    key, told = section, _meant(section, known)
    if name is not None:
        key, told = f"{section}.{name}", _nearest(section, name, known)
    return GenrevError(f"{source} sets {key}, which genrev does not know; {told}")


def _meant(name: str, known: Mapping[str, Sequence[str]]) -> str:
    """What may have been meant by a name that is no section: one, or an option of one."""
    if name in ("model", "phases"):
        return "it has other sections since the redesign, see CHANGELOG.md."
    options = {option: f"{section}.{option}" for section in known for option in known[section]}
    meant = {**options, **{key: key for key in (*known, *TOP)}}
    near = difflib.get_close_matches(name, meant, n=1)
    every = ", ".join((*known, *TOP))
    return f"did you mean --{meant[near[0]]}?" if near else f"there are {every}."


def _nearest(section: str, name: str, known: Mapping[str, Sequence[str]]) -> str:
    """What may have been meant: most slips are in the option, then it is in another section."""
    near = [f"{section}.{n}" for n in difflib.get_close_matches(name, known[section], n=1)]
    near = near or [f"{other}.{name}" for other in reversed(list(known)) if name in known[other]]
    every = {n: f"{other}.{n}" for other, names in known.items() for n in names}
    near = near or [every[n] for n in difflib.get_close_matches(name, every, n=1)]
    return f"did you mean --{near[0]}?" if near else "see `genrev train RECIPE --help` for all."


@cache
def _known() -> dict[str, list[str]]:
    """Options of all sections, by the source texts of their classes."""
    found = {
        section: {name for home in homes for name in _options(*home)}
        for section, homes in _HOMES.items()
    }
    return {section: [*_CHOICES, *sorted(names)] for section, names in found.items()}


def _options(home: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Names of the fields of all classes in a file or folder whose names end so."""
    place = _SOURCE / home
    for file in place.glob("*.py") if place.is_dir() else [place]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name.endswith(endings):
                fields = (line.target for line in node.body if isinstance(line, ast.AnnAssign))
                yield from (field.id for field in fields if isinstance(field, ast.Name))
