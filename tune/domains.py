"""The domains of a search space: intervals and lists of values, from which the values of a field are drawn."""

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from mulan.config.parsing import parse_toml

Value: TypeAlias = Any
"""A value of a recipe's field: a number, a boolean, a string, or a list of them."""

IntervalKind = Literal["uniform", "loguniform", "randint"]
ValuesKind = Literal["choice", "grid"]
_INTERVALS: Mapping[str, IntervalKind] = {kind: kind for kind in get_args(IntervalKind)}
_LISTS: Mapping[str, ValuesKind] = {kind: kind for kind in get_args(ValuesKind)}
KINDS: tuple[str, ...] = (*_INTERVALS, *_LISTS)
"""Names of the domains in the file of a space."""

_FEW = 64
"""The number of integers up to which all of an interval are examples."""
_INSIDE = 0.381966
"""The place of an example in an interval of numbers, which is no simple fraction of it."""
_MAX_INTEGER = 2**53
"""The largest integer up to which a float has all of them."""
_MAX_DEPTH = 4
"""The depth to which lists may be nested; fields of recipes are lists of lists at most."""


@dataclass(frozen=True)
class NumberInterval:
    """All numbers between two bounds, which belong to it."""

    kind: IntervalKind
    """Distribution of the values: uniform, uniform in their logarithm, or uniform over integers."""
    low: float
    high: float

    @property
    def edges(self) -> tuple[Value, ...]:
        """The bounds."""
        return self.low, self.high

    @property
    def examples(self) -> tuple[Value, ...]:
        """The bounds and values between them: all integers if they are few, or else one that shows whether a field
        takes more than whole numbers."""
        if self.kind != "randint":
            return self.low, self.high, self.rounded(self.low + (self.high - self.low) * _INSIDE)
        if self.high - self.low < _FEW:
            return tuple(range(int(self.low), int(self.high) + 1))
        return self.edges

    def sample(self, draws: np.random.Generator) -> Value:
        """Draws a value; one that is not an integer is rounded to six digits, as it is shown."""
        if self.kind == "randint":
            return int(draws.integers(int(self.low), int(self.high), endpoint=True))
        if self.kind == "uniform":
            value = draws.uniform(self.low, self.high)
        else:
            value = math.exp(draws.uniform(math.log(self.low), math.log(self.high)))
        return self.rounded(value)

    def contains(self, value: Value) -> bool:
        """Returns whether a value is in the interval."""
        is_number = isinstance(value, int if self.kind == "randint" else int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def rounded(self, value: float) -> float:
        """Returns a value rounded to six digits, within the bounds."""
        return min(max(float(f"{value:.6g}"), self.low), self.high)

    def to_json(self) -> dict[str, list[Value]]:
        """Returns the domain as in the file of a space."""
        return {self.kind: [self.low, self.high]}

    def __str__(self) -> str:
        scale = {"uniform": "uniform", "loguniform": "log-uniform", "randint": "integers"}[self.kind]
        return f"{self.low:.6g} to {self.high:.6g}, {scale}"


@dataclass(frozen=True)
class Values:
    """A list of values: ``choice`` draws from it, ``grid`` tries all of them."""

    kind: ValuesKind
    values: tuple[Value, ...]

    @property
    def edges(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    @property
    def examples(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def sample(self, draws: np.random.Generator) -> Value:
        """Draws a value; all have the same probability."""
        return self.values[int(draws.integers(len(self.values)))]

    def contains(self, value: Value) -> bool:
        """Returns whether a value is one of the list."""
        return _is_value(value) and as_text(value) in {as_text(one) for one in self.values}

    def to_json(self) -> dict[str, list[Value]]:
        """Returns the domain as in the file of a space."""
        return {self.kind: list(self.values)}

    def __str__(self) -> str:
        named = {"choice": "one of", "grid": "each of"}[self.kind]
        return f"{named} {', '.join(as_text(value) for value in self.values)}"


Domain: TypeAlias = NumberInterval | Values


def parse_domain(field: str, table: Mapping[str, Any]) -> tuple[Domain | None, str]:
    """Parses a domain such as ``{loguniform = [1e-4, 1e-2]}``.

    Returns:
        The domain and an empty string, or None and what is wrong.
    """
    if len(table) != 1 or (kind := next(iter(table))) not in KINDS:
        return None, f"{field} has {_enumerated(table)}; give one of {', '.join(KINDS)}"
    values = table[kind]
    if not isinstance(values, list):
        return None, f"{field}: {kind} = {values!r} is not a list"
    is_list = kind in _LISTS
    fault = _values_fault(values) if is_list else _interval_fault(kind, values)
    if fault:
        return None, f"{field}: {kind} = {json.dumps(values, default=str)} {fault}"
    return (Values(_LISTS[kind], tuple(values)) if is_list else NumberInterval(_INTERVALS[kind], *values)), ""


def _enumerated(table: Mapping[str, Any]) -> str:
    return " and ".join(repr(name) for name in list(table)[:5]) or "no domain"


def _interval_fault(kind: str, values: Sequence[Any]) -> str:
    """Returns what is wrong with the bounds of an interval; empty if nothing is."""
    number = int if kind == "randint" else int | float
    named = "integers" if kind == "randint" else "numbers"
    if len(values) != 2 or not all(isinstance(value, number) and not isinstance(value, bool) for value in values):
        return f"must be two {named}, the bounds"
    low, high = values
    if any(isinstance(value, int) and abs(value) > _MAX_INTEGER for value in values):
        return f"must be at most {_MAX_INTEGER} in magnitude"
    if not math.isfinite(float(high) - float(low)):
        return "must be finite, and so must their difference"
    if kind == "loguniform" and low <= 0:
        return "must be above 0"
    return "" if low < high else "is empty; the first bound must be below the second"


def _values_fault(values: Sequence[Any]) -> str:
    """Returns what is wrong with a list of values; empty if nothing is."""
    if not values:
        return "is empty; list the values"
    if any(isinstance(value, Mapping) for value in values):
        return "contains a whole section; vary its fields instead"
    if not all(_is_value(value) for value in values):
        return "may only have numbers, booleans, strings, and lists of them"
    texts = [as_text(_number_as_float(value)) for value in values]
    repeated = sorted({as_text(value) for value, text in zip(values, texts, strict=True) if texts.count(text) > 1})
    return f"repeats {' and '.join(repeated)}" if repeated else ""


def _number_as_float(value: Any) -> Any:
    """Returns numbers such that equal ones have the same text."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value + 0.0 if is_number and abs(value) <= _MAX_INTEGER else value  # -0.0 becomes 0.0


def _is_value(value: Any, depth: int = 0) -> bool:
    if isinstance(value, list):
        return depth < _MAX_DEPTH and all(_is_value(item, depth + 1) for item in value)
    return isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def as_text(value: Value) -> str:
    """Returns a value as ``--set`` parses it: TOML, without the quotes of strings that need none."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_quoted(item) for item in value)}]"
    if isinstance(value, str):
        return _quoted(value) if _needs_quotes(value) else value
    return repr(value)


def _quoted(value: Value) -> str:
    if not isinstance(value, str):
        return as_text(value)
    # a JSON string without escapes beyond those of TOML is one of TOML, which also has no bare DEL
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _needs_quotes(text: str) -> bool:
    """Returns whether ``--set`` would not parse a string as itself, or it has control characters."""
    if text != text.strip() or any(unicodedata.category(one) == "Cc" for one in text):
        return True
    try:
        return parse_toml(f"value = {text}") != {"value": text}
    except ValueError:
        return False


def settings(values: Mapping[str, Value]) -> list[str]:
    """Returns the ``--set`` arguments of a point of the search space."""
    return [f"{field}={as_text(value)}" for field, value in sorted(values.items())]
