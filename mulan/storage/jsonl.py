"""JSON-lines files: written line by line, read whole, and followed like ``tail -f``."""

import json
from collections.abc import Iterable
from typing import Any

from mulan.config.errors import MulanError
from mulan.storage import filesystem
from mulan.storage.errors import StorageError


class DamagedFile(MulanError):
    """Raised for a file of a run whose content has been damaged."""


def read_lines(uri: str, *, require_step: bool = False) -> list[dict[str, Any]]:
    """Returns the complete lines of a JSON-lines file; none if the file does not exist.

    Args:
        uri: URI of the file.
        require_step: Whether every line must have an integer ``step``.

    Raises:
        DamagedFile: A line is not a JSON object, or lacks a required ``step``.
    """
    if not filesystem.exists(uri):
        return []
    lines = filesystem.read_bytes(uri).split(b"\n")[:-1]  # after the last newline a line is still being written
    return [_parsed(line, f"line {number} of {uri}", require_step) for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, name: str, require_step: bool) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict) or (require_step and not isinstance(values.get("step"), int)):
        raise DamagedFile(f"{name} is damaged; restore that file, or remove the line")
    return values


class JsonLinesTail:
    """Follows a growing JSON-lines file."""

    def __init__(self, uri: str) -> None:
        self._uri, self._offset = uri, 0

    def new_lines(self) -> list[dict[str, Any]]:
        """Returns the complete lines added since the last call, or all lines if the file has been truncated since."""
        try:
            content, size = filesystem.read_new(self._uri, self._offset)
            if size < self._offset:
                self._offset = 0
                content, size = filesystem.read_new(self._uri, 0)
        except (OSError, StorageError):  # the caller polls
            return []
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError:  # truncated and grown again: the offset is in the middle of a line
            self._offset = 0
            return []
        self._offset += len(whole)
        return lines


class JsonLinesLog:
    """A JSON-lines file that is appended to during a run and truncated to the step from which the run resumes.

    A local file is written line by line. Object stores cannot append, so there :meth:`flush`, which may be called from
    another thread, writes the whole file.
    """

    def __init__(self, uri: str, *, keep_steps: int | None = None) -> None:
        """Continues an existing file without its lines whose ``step`` is above ``keep_steps``."""
        self._uri = uri
        lines = read_lines(uri, require_step=keep_steps is not None)
        self._lines = [_line(line) for line in lines if keep_steps is None or line["step"] <= keep_steps]
        filesystem.write_atomically(uri, "".join(self._lines).encode())
        self._path = filesystem.url_to_fs(uri)[1] if filesystem.is_local(uri) else None

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Appends lines.

        Raises:
            OSError: A local file cannot be written.
        """
        new = [_line(line) for line in lines]
        if self._path is None:
            self._lines += new
        elif new:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("".join(new))

    def flush(self) -> None:
        """Writes the whole file if it is in an object store.

        Raises:
            StorageError: The file could not be written; the old content is kept.
        """
        if self._path is None:
            filesystem.write_atomically(self._uri, "".join(self._lines).encode())


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
