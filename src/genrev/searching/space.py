"""What is searched: ``KEY=VALUES``, options of a recipe and what each may be.

=======================  ======================================================================
``a,b,c``                one of these; numbers in ascending order keep it for the search
``low..high``            a number in between, whole where the option takes whole numbers
``log:low..high``        the same on a logarithmic scale, for rates and widths
=======================  ======================================================================

Values go into a configuration as texts, as those of the command line do, and are checked there.
"""

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from genrev.errors import GenrevError
from genrev.files.readers import read_yaml_value
from genrev.options import allowed
from genrev.recipes.parsing import Key, keys_of
from genrev.training import RunConfig

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Over: TypeAlias = Mapping[str, str | Sequence[Any]]
"""What each key may be, as on the command line or as a list of values."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(log:)?({_NUMBER})\.\.({_NUMBER})")
_DIGITS = 4  # of a number between two others, as people write them


@dataclass(frozen=True)
class Parameter(ABC):
    """One key and what it may be; Optuna keeps a number or a text for it."""

    key: str

    @property
    @abstractmethod
    def ends(self) -> tuple[str, ...]:
        """The values that have to be right for all to be."""

    @property
    @abstractmethod
    def size(self) -> float:
        """How many values there are."""

    @abstractmethod
    def ask(self, trial: "BaseTrial") -> Any:
        """Optuna's value for a trial."""

    @abstractmethod
    def text(self, kept: Any) -> str:
        """The value as the command line has it, from Optuna's."""

    @abstractmethod
    def kept(self, value: Any) -> Any:
        """Optuna's value from that of a configuration; ``None`` where it is not among them."""


@dataclass(frozen=True)
class OneOf(Parameter):
    """Some values; ascending numbers are known by their place, so that neighbours are near."""

    texts: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, ...]:
        return self.texts

    @property
    def size(self) -> float:
        return len(self.texts)

    @property
    def ordered(self) -> bool:
        """Whether all are numbers, from the lowest to the highest."""
        values = [read_yaml_value(text) for text in self.texts]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        return len(numbers) == len(values) and numbers == sorted(numbers)

    def ask(self, trial: "BaseTrial") -> Any:
        if self.ordered:
            return trial.suggest_int(self.key, 0, len(self.texts) - 1)
        return trial.suggest_categorical(self.key, self.texts)

    def text(self, kept: Any) -> str:
        return self.texts[kept] if self.ordered else str(kept)

    def kept(self, value: Any) -> Any:
        values = [read_yaml_value(text) for text in self.texts]
        if value not in values:
            return None
        place = values.index(value)
        return place if self.ordered else self.texts[place]


@dataclass(frozen=True)
class Range(Parameter):
    """The numbers between two."""

    low: float
    high: float
    log: bool
    whole: bool

    @property
    def ends(self) -> tuple[str, ...]:
        return self.text(self.low), self.text(self.high)

    @property
    def size(self) -> float:
        return self.high - self.low + 1 if self.whole else math.inf

    def ask(self, trial: "BaseTrial") -> Any:
        if self.whole:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def text(self, kept: Any) -> str:
        if self.whole:
            return str(int(kept))
        return repr(min(max(float(f"{kept:.{_DIGITS}g}"), self.low), self.high))

    def kept(self, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if number and self.low <= value <= self.high else None


def read_space(over: Over, config: RunConfig) -> list[Parameter]:
    """What is searched; ``config`` says which options are whole numbers.

    Raises:
        GenrevError: nothing to search, a range that is none, or a key that changes what trials
            are compared by.
    """
    if not over:
        raise GenrevError(
            "A search needs something to search; add --over KEY=VALUES, for example "
            "--over optimizer.lr=log:1e-4..1e-2."
        )
    fields = {key.name: key for key in keys_of(config)}
    return [_parameter(key, values, fields.get(key)) for key, values in over.items()]


def require_right(space: list[Parameter], parse: Callable[[dict[str, str]], Any]) -> None:
    """Check each value beside the first ones of the other keys; the error is that of ``parse``."""
    first = {parameter.key: parameter.ends[0] for parameter in space}
    for parameter in space:
        for text in parameter.ends:
            parse({**first, parameter.key: text})


def _parameter(key: str, values: str | Sequence[Any], field: Key | None) -> Parameter:
    section, _, option = key.partition(".")
    if section == "data" or option.startswith("frechet_"):
        raise GenrevError(
            f"--over {key} would compare trials by different measures; set one value for all with "
            f"--{key}."
        )
    if key == "trainer.max_steps":
        raise GenrevError("--over trainer.max_steps is the length of a trial; set it with --steps.")
    if not isinstance(values, str):
        texts = [v if isinstance(v, str) else json.dumps(v) for v in values]
    elif match := _RANGE.fullmatch(values):
        whole = field is not None and "a whole number" in allowed(field.field)
        return _range(key, values, match, whole)
    elif values.startswith("log:"):
        raise GenrevError(f"--over {key} takes log:LOW..HIGH, two numbers, and got {values}.")
    else:
        texts = _split(values)
    if not texts or "" in texts:
        raise GenrevError(
            f"--over {key} takes values with commas between them, LOW..HIGH or log:LOW..HIGH, and "
            f"got {values!r}."
        )
    return OneOf(key, tuple(dict.fromkeys(texts)))


def _range(key: str, text: str, match: re.Match[str], whole: bool) -> Range:
    low, high, log = float(match[2]), float(match[3]), match[1] is not None
    if low >= high:
        raise GenrevError(f"--over {key}={text} has its lower number last; write LOW..HIGH.")
    if log and low <= 0:
        raise GenrevError(f"--over {key}={text} needs numbers above 0 for a logarithmic scale.")
    if whole and not (low.is_integer() and high.is_integer()):
        raise GenrevError(f"--over {key}={text} is for an option that takes whole numbers.")
    return Range(key, low, high, log, whole)


def _split(text: str) -> list[str]:
    """Values between commas, but for commas within brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "[{") - (c in "]}")
        if c == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]
