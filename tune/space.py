"""The search space of a sweep: a domain for each varied field of the recipe, by name or from a TOML file.

A file gives the domain of each field in a table ``[space]``::

    [space]
    "optim.lr" = { loguniform = [1e-4, 1e-2] }          # both bounds belong to the interval
    "optim.warmup_steps" = { randint = [0, 40] }
    "loss.temperature_init" = { uniform = [0.02, 0.2] }
    "audio_tower.stem_channels" = { choice = [16, 32] }
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulan.config.parsing import parse_toml
from mulan.config.paths import absolute, scheme_of
from mulan.config.recipe import Recipe
from mulan.storage.filesystem import printable
from tune.domains import KINDS, Domain, parse_domain
from tune.errors import SweepError
from tune.spaces import NAMED_SPACES, Domains

_MAX_FAULTS = 20
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_MAX_DEPTH = 8
"""Number of tables in each other in which a path is looked for; fields of recipes are in fewer."""
_MAX_SHOWN = 100


class SpaceError(SweepError):
    """The search space is not valid, or does not go with the recipe. The message lists all errors, up to a bound."""

    def __init__(self, space: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        if len(faults) == 1:
            super().__init__(f"space {space}: {faults[0]}")
            return
        more = [f"and {len(faults) - _MAX_FAULTS} more"] if len(faults) > _MAX_FAULTS else []
        listed = "".join(f"\n  - {fault}" for fault in [*faults[:_MAX_FAULTS], *more])
        super().__init__(f"space {space} has {len(faults)} errors:{listed}")


@dataclass(frozen=True)
class Space:
    """The varied fields of a recipe, each with its domain."""

    name: str
    """The name or the file of the space, for messages."""
    domains: Domains
    """The domain of each field by its path as in ``--set``, sorted by path."""

    def to_json(self) -> dict[str, Any]:
        """Returns the domains as in the file of a space."""
        return {field: domain.to_json() for field, domain in self.domains.items()}


def load_space(name_or_file: str, recipe: Recipe) -> Space:
    """Loads a named space (:mod:`tune.spaces`) or a TOML file.

    Args:
        name_or_file: A key of :data:`tune.spaces.NAMED_SPACES`, or the path of a local TOML file.
        recipe: The recipe around whose values a named space lies.

    Raises:
        SpaceError: There is no such space, or it is not valid; lists all errors. Whether the recipe has its fields is
            checked by :func:`tune.space_check.check_space`.
    """
    return _without_faults(*read_space(name_or_file, recipe))


def read_space(name_or_file: str, recipe: Recipe) -> tuple[Space, list[str]]:
    """Reads a space like :func:`load_space`, but returns faults of its fields, so that others are listed with them.

    Returns:
        The space of the fields whose domains are valid, and what is wrong with the others.

    Raises:
        SpaceError: There is no such space, or it has no fields.
    """
    if name_or_file in NAMED_SPACES:
        domains = NAMED_SPACES[name_or_file](recipe)
        if not domains:
            raise SpaceError(name_or_file, ["this recipe has nothing to vary in it; give another --space"])
        return Space(name_or_file, dict(sorted(domains.items()))), []
    return _parse_space(_read(name_or_file), name=name_or_file)


def _without_faults(space: Space, faults: Sequence[str]) -> Space:
    if faults:
        raise SpaceError(space.name, faults)
    return space


def _read(name_or_file: str) -> str:
    if not name_or_file.endswith(".toml"):
        near = difflib.get_close_matches(name_or_file, NAMED_SPACES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise SpaceError(
            name_or_file, [f"no such space; {hint}choose one of {', '.join(NAMED_SPACES)}, or give a .toml file"]
        )
    path = absolute(name_or_file)
    if scheme_of(path):
        raise SpaceError(name_or_file, ["is not a local file; copy it to this machine"])
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpaceError(name_or_file, [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SpaceError(name_or_file, [f"is not TOML: {error}"]) from error


def space_from_toml(text: str, *, name: str) -> Space:
    """Parses the file of a space; see the module for its format.

    Args:
        text: TOML with a table ``space``. Paths may be quoted, or nested tables.
        name: Name of the space, for messages.

    Raises:
        SpaceError: It is not valid; lists all errors.
    """
    return _without_faults(*_parse_space(text, name=name))


def _parse_space(text: str, *, name: str) -> tuple[Space, list[str]]:
    try:
        content = parse_toml(text)
    except ValueError as error:
        raise SpaceError(name, [f"is not TOML: {error}"]) from error
    faults = [f"{key} is not a table of a space; give [space]" for key in content if key != "space"]
    tables = content.get("space", {})
    if not isinstance(tables, Mapping) or not tables:
        raise SpaceError(name, [*faults, "has no table [space] with the domains of fields"])
    domains: dict[str, Domain] = {}
    for field, table in _fields(tables):
        domain, fault = _domain(field, table)
        if domain is None:
            faults.append(fault)
        elif field in domains:
            faults.append(f"{field} is given twice")
        else:
            domains[field] = domain
    return Space(name, dict(sorted(domains.items()))), faults


def _domain(field: str, table: Any) -> tuple[Domain | None, str]:
    if not _PATH.fullmatch(field):  # "train.steps=9#" would set another field than it names
        return None, f"{printable(field)[:_MAX_SHOWN]!r} is not the path of a field, such as optim.lr"
    if not isinstance(table, Mapping):
        return None, f"{field} = {table!r} is not a domain"
    return parse_domain(field, table)


def _fields(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and the domain of each field; unquoted paths are nested tables of TOML."""
    for key, table in tables.items():
        is_nested = isinstance(table, Mapping) and table and not table.keys() & set(KINDS)
        if is_nested and prefix.count(".") > _MAX_DEPTH:
            yield f"{prefix}{key}", "..."
            continue
        if is_nested and all(isinstance(value, Mapping) for value in table.values()):
            yield from _fields(table, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", table
