"""Modules of submitted commands: whether those of mulan exist here, and any module where its job runs."""

import difflib
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mulan.submission.command import Command
from mulan.submission.errors import SubmissionError

INSTALLED = Path(__file__).parents[2]
"""The folder that contains mulan's packages."""
PACKAGES = ("jobs", "tune", "mulan")
"""Packages of mulan, which a submitted module must belong to for this machine to know it."""
_NAME = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)*")
_RUNS = '__name__ == "__main__"'


def check_module(command: Command, folder: Path | None) -> None:
    """Checks that a command names a module of mulan's packages as Python runs it, and one that exists.

    Other modules and programs may exist on the cluster, and are left as they are.

    Args:
        command: The command.
        folder: The folder of ``--working-dir``, whose modules precede those of mulan; None without one.

    Raises:
        SubmissionError: The module does not exist, or ``python -m`` is missing; names a similar module.
    """
    places = [*([folder] if folder else []), INSTALLED]
    name = command.module
    if name is None:
        forgotten = _without_python(command, places[0] if folder else Path())
        if forgotten:
            near = forgotten if _exists(forgotten, places) else next(_near(forgotten, places), "jobs.train")
            raise SubmissionError([f"{forgotten} is a module, not a program: did you mean python -m {near}?"])
    elif name.partition(".")[0] in PACKAGES and not _exists(name, places):
        near = next(_near(name, places), "")
        hint = f"did you mean {near}?" if near else f"the commands are {', '.join(_commands(places))}."
        raise SubmissionError(
            [f"python -m {name}: mulan has no such command; {hint} A module of your own needs --working-dir"]
        )


def fault_of_module(name: str) -> str:
    """Returns why ``python -m`` does not find a module in this environment; empty if it does.

    The packages that contain the module are imported, as ``python -m`` does; the module is not.
    """
    if not name or name.startswith("."):
        return f"{name!r} is not the name of a module"
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name = f"{name}.__main__"
            spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return f"No module named {name}"
        return ""  # what a package imports is missing: the job itself says where
    except Exception:  # a package that fails to be imported: likewise
        return ""
    return "" if spec is not None else f"No module named {name}"


def _without_python(command: Command, folder: Path) -> str:
    """Returns the module of mulan that a command begins with in place of a program; empty if it does not."""
    words = list(command.words)
    while words and (words[0] == "-m" or re.fullmatch(r"python[\d.]*", words[0])):
        del words[0]
    first = words[0] if words else ""
    is_module = "." in first and _NAME.fullmatch(first)
    return first if is_module and not os.path.exists(folder / first) else ""


def _exists(name: str, places: list[Path]) -> bool:
    """Returns whether Python can run a module; the first place whose package has an ``__init__`` decides."""
    parts = name.split(".")
    if not all(parts):
        return False
    for place in places:
        where = os.path.join(place, *parts)  # Path's methods raise for names that are too long
        if os.path.isfile(f"{where}.py") or os.path.isfile(os.path.join(where, "__main__.py")):
            return True
        if os.path.isfile(os.path.join(place, parts[0], "__init__.py")):
            return False
    return False


def _near(name: str, places: list[Path]) -> Iterator[str]:
    if name in PACKAGES:
        return iter(())
    return iter(difflib.get_close_matches(name, _commands(places), n=1))


def _commands(places: list[Path]) -> list[str]:
    """Returns the modules of ``jobs`` and ``tune`` that run as commands."""
    files = {
        ".".join(file.relative_to(place).with_suffix("").parts): file
        for place in reversed(places)
        for package in PACKAGES[:2]
        for file in (place / package).glob("*.py")
    }
    return sorted(name for name, file in files.items() if _RUNS in file.read_text(encoding="utf-8", errors="replace"))
