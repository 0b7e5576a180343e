"""Registries: what there is of a kind, by name, and how others add to it.

genrev's own are registered by name and place and imported when they are asked for. Somebody else's
are registered by a decorator when their file is imported: by a script, by ``--plugin FILE`` on the
command line, or by an installed package with an entry point of the group ``genrev``.

A name in a configuration, which may be a stranger's, only ever looks here. It imports nothing that
the user has not installed or named.
"""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from shlex import quote
from typing import Generic, TypeVar
from zlib import crc32

from genrev.errors import GenrevError

_FILES: dict[str, None] = {}  # that were loaded, in their order

T = TypeVar("T")
C = TypeVar("C")


class Registry(Generic[T]):
    """Things of one kind by name.

    ``noun`` is what one of them is called; ``builtin`` are genrev's own, as
    ``"package.module:Name"`` by name; ``base`` is the class they all inherit from, if they do.

    Example:
        >>> shapes = Registry[type]("shape", {"fraction": "fractions:Fraction"})
        >>> @shapes.register("circle")
        ... class Circle: ...
        >>> shapes.names(), shapes["circle"].__name__, shapes["fraction"].__name__
        (['fraction', 'circle'], 'Circle', 'Fraction')
        >>> shapes["circel"]
        Traceback (most recent call last):
        genrev.errors.GenrevError: There is no shape 'circel'; did you mean circle?
    """

    def __init__(self, noun: str, builtin: Mapping[str, str], base: type | None = None) -> None:
        self.noun = noun
        self.base = base
        self._builtin = dict(builtin)
        self._others: dict[str, T] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """A decorator that adds a class or function under a name, which no other one has."""
        if not isinstance(name, str):
            raise TypeError(
                f"register takes the name of a {self.noun} and got {name!r:.80}; write "
                '@REGISTRY.register("name").'
            )

        def add(thing: C) -> C:
            if self.base and not (isinstance(thing, type) and issubclass(thing, self.base)):
                raise GenrevError(
                    f"{_place(thing)} cannot be a {self.noun}; make it a subclass of "
                    f"genrev.{self.base.__name__}."
                )
            taken = name in self._builtin or name in self._others
            # A file may be imported twice, as in a notebook.
            if taken and _place(self._others.get(name)) != _place(thing):
                raise GenrevError(f"There is a {self.noun} {name!r} already; choose another name.")
            self._others[name] = thing  # type: ignore[assignment]
            return thing

        return add

    def names(self) -> list[str]:
        """All names: genrev's own, then others in the order of their registration."""
        _load_installed()
        return [*self._builtin, *self._others]

    def __iter__(self) -> Iterator[str]:
        """All names."""
        return iter(self.names())

    def __contains__(self, name: object) -> bool:
        """Whether there is one of that name."""
        return isinstance(name, str) and name in self.names()

    def __getitem__(self, name: str) -> T:
        """The one of that name; GenrevError, with the nearest name, where there is none."""
        if name in self._builtin:
            module, _, attribute = self._builtin[name].partition(":")
            found: T = getattr(importlib.import_module(module), attribute)
            return found
        if name not in self:
            near = difflib.get_close_matches(str(name), self.names(), n=1)
            advice = f"choose from {', '.join(self.names())}, or load the file that registers it "
            advice = f"did you mean {near[0]}?" if near else f"{advice}with --plugin FILE."
            raise GenrevError(f"There is no {self.noun} {str(name)[:80]!r}; {advice}")
        return self._others[name]

    def name_of(self, thing: object) -> str | None:
        """The name something is registered under; ``None`` if it is not."""
        others = [name for name, other in self._others.items() if other is thing]
        builtin = [name for name, place in self._builtin.items() if place == _place(thing)]
        return next(iter(others + builtin), None)


def load_plugin(file: str | Path) -> None:
    """Import a Python file, which registers what it defines; GenrevError where that fails."""
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise GenrevError(f"--plugin {file} is not there; name a Python file that is.")
    if path.suffix != ".py":
        raise GenrevError(f"--plugin {file} is no Python file; name one that ends in .py.")
    # Files of one name in two folders are two plugins; one that is loaded again is the same.
    name = f"genrev_plugin_{path.stem}_{crc32(str(path).encode()):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the suffix has been checked
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic looks annotations up there
    try:
        spec.loader.exec_module(module)
    except GenrevError:
        raise
    except (Exception, SystemExit) as error:  # a file may hold anything
        raise GenrevError(
            f"--plugin {file} cannot be imported ({type(error).__name__}: {error})."
        ) from error
    _FILES[str(file)] = None


def plugins_loaded() -> bool:
    """Whether a file was loaded by ``load_plugin``, or an installed package has an entry point."""
    return bool(_FILES) or bool(entry_points(group="genrev"))


def plugin_options() -> str:
    """The options that load the same plugins again, for a command that is printed to be typed."""
    return "".join(f" --plugin {quote(file)}" for file in _FILES)


@cache
def _load_installed() -> None:
    """Import the entry points of installed packages, once."""
    for point in entry_points(group="genrev"):
        try:
            point.load()
        except Exception as error:
            name = point.dist.name if point.dist else point.value
            raise GenrevError(
                f"The installed package {name} registers {point.value} with genrev, which cannot "
                f"be imported ({type(error).__name__}: {error}); mend or uninstall it."
            ) from error


def _place(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', '')}"
