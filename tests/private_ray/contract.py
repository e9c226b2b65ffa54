"""Requirements on Ray's private interfaces, their checks, and the messages if a release of Ray does not meet them.

A private interface is imported only when it is checked, so that its absence also results in a message.
"""

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

ROOT = Path(__file__).parents[2]
PINNED = re.findall(r"ray\[.*\]==([\d.]+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[0]


class Differs(Exception):
    """An interface of Ray differs from the requirement; the message continues a sentence that begins with its name."""


@dataclass(frozen=True)
class Need:
    """A requirement on a private interface of Ray."""

    place: str
    """Location of the interface, ``MODULE:NAME``; the name of an attribute is dotted."""
    user: str
    """Module of ``mulan/private_ray`` that uses it."""
    without: str
    """Consequence for mulan without it: the end of a sentence."""
    check: Callable[[Any], None]
    """Function that is called with the object, and raises :class:`Differs` if it does not meet the requirement."""
    parts: tuple[str, ...] = ()
    """Private attributes and settings of the object that are used."""

    def difference(self) -> str | None:
        """Returns the difference in one line, for whoever moves mulan to another Ray; None if there is none."""
        try:
            self.check(load(self.place))
        except Differs as differs:
            difference = str(differs)
        except Exception as error:  # a changed Ray may raise any error when it is used as before
            difference = f"cannot be used as mulan does: {type(error).__name__}: {error}"
        else:
            return None
        name = self.place.partition(":")[2] + (f" ({', '.join(self.parts)})" if self.parts else "")
        return (
            f"Ray {ray.__version__}: {name} {difference}. Without it {self.without}. "
            f"It is {self.place} in Ray {PINNED}; see mulan/private_ray/{self.user}.py"
        )


def load(place: str) -> Any:
    """Returns the object at ``MODULE:NAME``.

    Raises:
        Differs: The module or the name does not exist.
    """
    module, _, name = place.partition(":")
    try:
        loaded: Any = importlib.import_module(module)
    except ImportError as error:
        raise Differs(f"does not exist, nor does its module {module} ({error})") from error
    for part in name.split("."):
        try:
            loaded = getattr(loaded, part)
        except AttributeError as error:
            raise Differs(f"does not exist: {getattr(loaded, '__name__', loaded)} has no {part}") from error
    return loaded


def takes(function: Any, *needed: str, exactly: bool = False) -> None:
    """Checks that a function has the needed parameters and, with ``exactly``, no others.

    Raises:
        Differs: The function has other parameters.
    """
    parameters = list(inspect.signature(function).parameters)
    if parameters != list(needed) if exactly else not set(needed) <= set(parameters):
        raise Differs(f"takes ({', '.join(parameters)}), not ({', '.join(needed)})")


def mentions(source: Any, word: str, difference: str) -> None:
    """Checks that the source of an object contains a word, if a real check would need a running Ray.

    Raises:
        Differs: The source does not contain it.
    """
    if word not in inspect.getsource(source):
        raise Differs(difference)
