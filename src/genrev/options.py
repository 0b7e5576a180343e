"""Options: typed values with ranges, each documented and checked where it is declared.

An option is one field: type, range, default and a docstring below. ``--help`` and errors say what
stands there, so they cannot disagree.

>>> class Walk(Options):
...     '''How far to walk.'''
...
...     steps: Count = 10
...     '''Number of steps.'''
...     pace: Literal["slow", "fast"] = "slow"
...     '''How fast.'''
>>> Walk(steps=3).replace(pace="fast")
Walk(steps=3, pace='fast')
>>> Walk(steps=0)
Traceback (most recent call last):
genrev.options.OptionError: steps takes a whole number of 1 or more and got 0.
"""

import difflib
import types
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeAlias, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from genrev.errors import GenrevError

Count: TypeAlias = Annotated[int, Field(ge=1)]
"""A whole number of 1 or more."""
Positive: TypeAlias = Annotated[float, Field(gt=0)]
"""A number above 0."""
Weight: TypeAlias = Annotated[float, Field(ge=0)]
"""A number of 0 or more."""
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
"""A number from 0 to below 1."""


def _one_for_square(size: Any) -> Any:
    square = isinstance(size, tuple) and len(size) == 2 and size[0] == size[1]
    return size[0] if square else size


ONE_FOR_SQUARE = AfterValidator(_one_for_square)
"""Turns height and width into one number where they are equal, so that equal sizes are written in
one way."""


class PathTo(NamedTuple):
    """Marks a text as a path, which a run folder keeps in full, or perhaps as a name on the hub."""

    or_name: bool = False


FilePath: TypeAlias = Annotated[str, PathTo()]
"""The path of a file or folder."""

# Section and source of the values that are being checked, for messages.
_place: ContextVar[tuple[str, str]] = ContextVar("_place", default=("", ""))


class OptionError(GenrevError, ValueError):
    """A value that an option does not take, an option that does not exist, or two that clash."""


class Options(BaseModel):
    """Base class of all options; instances cannot be changed, and ``replace`` copies them.

    Values are taken strictly: a number is no text and no boolean. Lists become tuples. A check of
    several fields is a ``pydantic.model_validator(mode="after")`` that raises ``OptionError``.

    Raises:
        OptionError: an unknown name, or a value of another type or out of range.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**{key: _tuples(value) for key, value in values.items()})
        except ValidationError as error:
            raise OptionError(_sentence(type(self), error, *_place.get())) from None

    @classmethod
    def parse(cls, values: Mapping[str, Any], key: str, source: str) -> Self:
        """Options from a file or the command line, which messages name, with section ``key``."""
        token = _place.set((key, source))
        try:
            return cls(**values)
        finally:
            _place.reset(token)

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed, which are checked."""
        return type(self)(**{**dict(self), **changes})

    def plain(self) -> dict[str, Any]:
        """The values as JSON and YAML have them: dicts, lists, texts, numbers and None."""
        return self.model_dump(mode="json")


def allowed(field: FieldInfo) -> str:
    """What an option takes, in words.

    Example:
        >>> allowed(FieldInfo.from_annotation(Fraction | None))
        'a number from 0 to below 1, or null'
    """
    return _allowed(field.annotation, field.metadata)


def path_mark(field: FieldInfo) -> PathTo | None:
    """How an option is marked as a path; ``None`` if it is not."""
    parts = (field.annotation, *get_args(field.annotation))
    marks = [mark for part in parts for mark in getattr(part, "__metadata__", ())]
    return next((mark for mark in [*field.metadata, *marks] if isinstance(mark, PathTo)), None)


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
_RANGES = {
    ("ge", "lt"): " from {ge} to below {lt}",
    ("ge", "le"): " from {ge} to {le}",
    ("gt", "lt"): " between {gt} and {lt}",
    ("gt", "le"): " above {gt} and at most {le}",
    ("ge",): " of {ge} or more",
    ("gt",): " above {gt}",
}


def _allowed(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        extra = [m for a in arguments[1:] for m in getattr(a, "metadata", [a])]
        return _allowed(arguments[0], [*extra, *metadata])
    if origin in (Union, types.UnionType):
        words = [_allowed(a, metadata) for a in arguments if a is not type(None)]
        null = ["null"] if type(None) in arguments else []
        return ", or ".join(dict.fromkeys([*words, *null]))
    if origin is Literal:
        choices = [str(choice) for choice in arguments]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if origin is tuple:
        many = "a list" if arguments[-1] is Ellipsis else f"{len(arguments)} values"
        return f"{many} like [A, B], each {_allowed(arguments[0], metadata)}"
    return _KINDS.get(annotation, "a section of its own") + _range(metadata)


def _range(metadata: list[Any]) -> str:
    bounds: dict[str, str] = {}
    for bound in metadata:
        for kind in ("ge", "gt", "le", "lt"):
            if hasattr(bound, kind):
                value = getattr(bound, kind)
                bounds[kind] = f"{value:g}" if isinstance(value, float) else str(value)
    kinds = next((kinds for kinds in _RANGES if bounds.keys() >= set(kinds)), None)
    return _RANGES[kinds].format(**bounds) if kinds else ""


def _sentence(cls: type[Options], error: ValidationError, section: str, source: str) -> str:
    """The first error in one sentence, from its structure and not from pydantic's words."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":  # a check of several fields, which is a sentence already
        return str(first["ctx"]["error"])
    name = str(first["loc"][0]) if first["loc"] else ""
    option = f"--{section}.{name}".replace("--.", "--") if source else name
    where = f" in {source}" if source else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, cls.model_fields, n=1)
        advice = f"did you mean {near[0]}?" if near else f"it has {', '.join(cls.model_fields)}."
        owner = section or cls.__qualname__.removesuffix(".Options").rpartition(".")[2]
        return f"{owner}{where} has no option {name!r}; {advice}"
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return f"{section or cls.__name__}{where} lacks {name}; give it a value."
    given = first["input"]
    if given is None:
        return f"{option}{where} cannot be null; give a value or leave it out."
    if name not in cls.model_fields:
        return f"{section or cls.__name__}{where} is a section of options and got {given!r}."
    if len(first["loc"]) > 1 and isinstance(first["loc"][1], int):
        given = f"{given!r} at position {first['loc'][1] + 1}"
    else:
        given = repr(list(given) if isinstance(given, tuple) else given)
    return f"{option}{where} takes {allowed(cls.model_fields[name])} and got {given}."


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
