"""How a need of something private of Ray is stated, looked for, and told when Ray no longer meets it.

Nothing of Ray is imported before it is looked for, so that a Ray without it is told in words as well.
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
    """Something of Ray is not as it is needed; the text goes on from its name."""


@dataclass(frozen=True)
class Need:
    """One private thing of Ray."""

    place: str
    """``MODULE:NAME``, the name with dots where it is within another."""
    user: str
    """The module of ``mulan/private_ray`` that needs it."""
    without: str
    """What of mulan breaks with it: the end of a sentence."""
    check: Callable[[Any], None]
    """Given the thing; raises :class:`Differs`."""
    parts: tuple[str, ...] = ()
    """Private attributes and settings of it that are needed, and have no place of their own."""

    def difference(self) -> str | None:
        """What Ray does otherwise, as one line for whoever moves mulan to another Ray; None if nothing."""
        try:
            self.check(found(self.place))
        except Differs as differs:
            what = str(differs)
        except Exception as error:  # whatever a changed Ray raises when it is used as before
            what = f"cannot be used as mulan does: {type(error).__name__}: {error}"
        else:
            return None
        name = self.place.partition(":")[2] + (f" ({', '.join(self.parts)})" if self.parts else "")
        return (
            f"Ray {ray.__version__}: {name} {what}. Without it {self.without}. "
            f"It is {self.place} in Ray {PINNED}; see mulan/private_ray/{self.user}.py"
        )


def found(place: str) -> Any:
    """What stands at ``MODULE:NAME``.

    Raises:
        Differs: the module or the name is gone.
    """
    module, _, name = place.partition(":")
    try:
        thing: Any = importlib.import_module(module)
    except ImportError as error:
        raise Differs(f"is not there, nor its module {module} ({error})") from error
    for part in name.split("."):
        try:
            thing = getattr(thing, part)
        except AttributeError as error:
            raise Differs(f"is not there: {getattr(thing, '__name__', thing)} has no {part}") from error
    return thing


def takes(thing: Any, *needed: str, exactly: bool = False) -> None:
    """Holds a function to its parameters: that it has them, or that they are all it has.

    Raises:
        Differs: it has others.
    """
    parameters = list(inspect.signature(thing).parameters)
    if parameters != list(needed) if exactly else not set(needed) <= set(parameters):
        raise Differs(f"takes ({', '.join(parameters)}), not ({', '.join(needed)})")


def mentions(thing: Any, word: str, what: str) -> None:
    """Holds Ray's source to a word, where to see it at work would need a running Ray.

    Raises:
        Differs: it does not stand there.
    """
    if word not in inspect.getsource(thing):
        raise Differs(what)
