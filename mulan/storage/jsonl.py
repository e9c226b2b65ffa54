"""JSON-lines files: written line by line, read whole, and followed while they grow."""

import json
from collections.abc import Iterable
from typing import Any

from mulan.config.errors import MulanError
from mulan.storage import filesystem
from mulan.storage.errors import StorageError


class DamagedFile(MulanError):
    """A file that a run has written holds something else now."""


def read_lines(uri: str, *, of_steps: bool = False) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines file, or none where there is no file.

    Args:
        of_steps: each has a whole number ``step``.

    Raises:
        DamagedFile: a line is damaged.
    """
    if not filesystem.exists(uri):
        return []
    lines = filesystem.read_bytes(uri).split(b"\n")[:-1]  # what follows the last newline is a line being written
    return [_parsed(line, f"line {number} of {uri}", of_steps) for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, name: str, of_step: bool) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or (of_step and not isinstance(values.get("step"), int)):
        raise DamagedFile(f"{name} is damaged; restore that file, or remove the line")
    return values


class JsonLinesTail:
    """Reads what is new in a JSON-lines file, again and again."""

    def __init__(self, uri: str) -> None:
        self._uri, self._read = uri, 0

    def new_lines(self) -> list[dict[str, Any]]:
        """The whole lines since the last call; all lines anew where the file was cut back in between."""
        try:
            content, size = filesystem.read_new(self._uri, self._read)
            if size < self._read:
                self._read = 0
                content, size = filesystem.read_new(self._uri, 0)
        except (OSError, StorageError):  # whoever watches a run asks again soon
            return []
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError:  # cut back and grown again: this is the middle of a line
            self._read = 0
            return []
        self._read += len(whole)
        return lines


class JsonLinesLog:
    """A JSON-lines file that is appended to during a run and cut back to where the run resumes.

    A local file is written line by line. Object stores cannot append: there the file is written whole at every
    :meth:`flush`, for which another thread may be used.
    """

    def __init__(self, uri: str, *, keep_steps: int | None = None) -> None:
        """Continues a file that is there; lines with a ``step`` above ``keep_steps`` are dropped."""
        self._uri = uri
        of_steps = keep_steps is not None
        kept = [line for line in read_lines(uri, of_steps=of_steps) if keep_steps is None or line["step"] <= keep_steps]
        self._lines = [_line(line) for line in kept]
        filesystem.write_atomically(uri, "".join(self._lines).encode())
        self._path = filesystem.url_to_fs(uri)[1] if filesystem.is_local(uri) else None

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """
        Raises:
            OSError: a local file takes no more.
        """
        new = [_line(line) for line in lines]
        if self._path is None:
            self._lines += new
        elif new:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("".join(new))

    def flush(self) -> None:
        """
        Raises:
            StorageError: it could not be written; what was there still is.
        """
        if self._path is None:
            filesystem.write_atomically(self._uri, "".join(self._lines).encode())


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
