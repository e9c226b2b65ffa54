"""JSON-lines files: written line by line, read whole, and followed like ``tail -f``.

A file in an object store consists of parts, since objects cannot be appended to: ``metrics.jsonl``, then
``metrics.0001.jsonl`` and so on, which together are one file. Only the newest part is ever rewritten.
"""

import json
import re
from collections import deque
from collections.abc import Iterable
from typing import Any

from mulan.config.errors import MulanError
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.line_values import parsed_line

PART_BYTES = 2**20
"""Size in bytes from which a part is complete: the next line begins a new one."""

_EXTENSION = ".jsonl"


class DamagedFile(MulanError):
    """Raised for a file of a run whose content has been damaged."""


def read_lines(uri: str, *, require_step: bool = False) -> list[dict[str, Any]]:
    """Returns the complete lines of a JSON-lines file with all of its parts; none if the file does not exist.

    Args:
        uri: URI of the file, which is that of its first part.
        require_step: Whether every line must have an integer ``step``.

    Raises:
        DamagedFile: A line is not a JSON object, or lacks a required ``step``.
    """
    lines = []
    for part in part_uris(uri):
        try:
            lines += _read_part(part, require_step)
        except FileNotFoundError:  # removed meanwhile by a run that resumes at an earlier step
            break
    return lines


def part_uris(uri: str) -> list[str]:
    """Returns the URIs of the parts of a JSON-lines file in order; none if the file does not exist."""
    folder, _, name = uri.rpartition("/")
    return [f"{folder}/{part}" for part in parts_among(filesystem.names_in(folder), name)]


def parts_among(names: Iterable[str], name: str) -> list[str]:
    """Returns the names of the parts of a file in order.

    A part that is missing ends the file: those after it were left by a removal that was interrupted.

    Args:
        names: Names of the files in its folder.
        name: Name of the file, such as ``metrics.jsonl``.
    """
    numbers = set(_part_numbers(names, name))
    parts: list[str] = []
    while len(parts) in numbers:
        parts.append(part_name(name, len(parts)))
    return parts


def part_name(name: str, number: int) -> str:
    """Returns the name or URI of a part: that of the file for number 0, and ``metrics.0001.jsonl`` for 1."""
    return f"{name.removesuffix(_EXTENSION)}.{number:04d}{_EXTENSION}" if number else name


def _part_numbers(names: Iterable[str], name: str) -> list[int]:
    """Returns the numbers of all parts that exist, including those after a missing one."""
    named = re.compile(re.escape(name.removesuffix(_EXTENSION)) + r"(?:\.(\d{4,}))?" + re.escape(_EXTENSION))
    matches = [named.fullmatch(each) for each in names]
    return sorted(int(match[1] or 0) for match in matches if match)


def _read_part(uri: str, require_step: bool) -> list[dict[str, Any]]:
    lines = filesystem.read_bytes(uri).split(b"\n")[:-1]  # after the last newline a line is still being written
    return [_parsed(line, f"line {number} of {uri}", require_step) for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, name: str, require_step: bool) -> dict[str, Any]:
    values = parsed_line(line)
    if values is None or (require_step and not isinstance(values.get("step"), int)):
        raise DamagedFile(f"{name} is damaged; restore that file, or remove the line")
    return values


class JsonLinesTail:
    """Follows a growing JSON-lines file over its parts. Damaged lines are left out, so that they hide no others."""

    def __init__(self, uri: str) -> None:
        self._uri, self._part, self._offset = uri, 0, 0

    def new_lines(self) -> list[dict[str, Any]]:
        """Returns the complete lines added since the last call, or all lines if the file has been truncated since.

        A line is a JSON object of any content.
        """
        lines = []
        try:
            while new := self._new_lines_of_part():
                lines += new
        except (OSError, StorageError):  # the caller polls
            pass
        return lines

    def _new_lines_of_part(self) -> list[dict[str, Any]]:
        """Returns new lines of the current part, or of the next one if that has begun; none if there are none."""
        lines = self._read()
        if lines or self._offset < PART_BYTES or not filesystem.read_new(part_name(self._uri, self._part + 1), 0)[1]:
            return lines
        if lines := self._read():  # added to this part after it was read, and before the next one began
            return lines
        self._part, self._offset = self._part + 1, 0
        return self._read()

    def _read(self) -> list[dict[str, Any]]:
        begin = max(0, self._offset - 1)
        content, size = filesystem.read_new(part_name(self._uri, self._part), begin)
        if size < self._offset or (self._offset and content[:1] != b"\n"):  # truncated, and perhaps grown again
            self._part = self._offset = begin = 0
            content, size = filesystem.read_new(self._uri, 0)
        end = content.rfind(b"\n") + 1
        new = content[self._offset - begin : end].split(b"\n")[:-1]
        self._offset = begin + end
        return [line for each in new if (line := parsed_line(each)) is not None]


class JsonLinesLog:
    """A JSON-lines file that is appended to during a run and truncated to the step from which the run resumes.

    A local file is written line by line. Object stores cannot append, so there :meth:`flush`, which may be called from
    another thread, writes the newest part, and the lines of complete parts are not kept in memory.
    """

    def __init__(self, uri: str, *, keep_steps: int | None = None) -> None:
        """Continues an existing file without its lines whose ``step``, which never decreases, is above ``keep_steps``.

        If the process ends meanwhile, the file lacks at most lines that were to be removed.
        """
        self._uri = uri
        folder, _, name = uri.rpartition("/")
        names = filesystem.names_in(folder)
        parts = [f"{folder}/{part}" for part in parts_among(names, name)]
        for number in _part_numbers(names, name):
            if number >= len(parts):  # after a missing one
                filesystem.remove(part_name(uri, number))
        kept: list[str] = []
        while parts:
            lines = _read_part(parts[-1], require_step=keep_steps is not None)
            kept = [_line(line) for line in lines if keep_steps is None or line["step"] <= keep_steps]
            if kept or len(parts) == 1:
                break
            filesystem.remove(parts.pop())
        self._part, self._content, self._is_written = max(0, len(parts) - 1), "".join(kept).encode(), False
        self._write()
        self._new: deque[str] = deque()
        self._path: str | None = None
        if filesystem.is_local(uri):
            self._path, self._content = filesystem.url_to_fs(part_name(uri, self._part))[1], b""

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Appends lines.

        Raises:
            OSError: A local file cannot be written.
        """
        new = [_line(line) for line in lines]
        if self._path is None:
            self._new.extend(new)
        elif new:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write("".join(new))

    def flush(self) -> None:
        """Writes the lines that an object store does not have yet: the newest part, and those that follow it.

        Raises:
            StorageError: A part could not be written; its old content is kept.
        """
        while self._new or not self._is_written:
            if self._is_written and len(self._content) >= PART_BYTES:
                self._part, self._content = self._part + 1, b""
            added = bytearray(self._content)
            while self._new and len(added) < PART_BYTES:
                added += self._new.popleft().encode()
            self._content, self._is_written = bytes(added), False
            self._write()

    def _write(self) -> None:
        filesystem.write_atomically(part_name(self._uri, self._part), self._content)
        self._is_written = True


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values) + "\n"
