"""Reading of large text files of public data sets in pieces, so that memory does not grow with them."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mulan.preparation.faults import SourceError, at_line
from mulan.preparation.sources.official_files import read_official
from mulan.storage import filesystem

CHUNK_BYTES = 8 * 2**20
"""Number of bytes that are read at once; smaller files are read whole."""

MAX_ENTRY = 2**20
"""Maximum length in characters of an entry of a JSON file: what is longer is damaged."""

_DECODER = json.JSONDecoder()
_BLANKS = re.compile(r"[ \t\r\n]*")


def text_chunks(source: str, uri: str, *, remedy: str, chunk_bytes: int = CHUNK_BYTES) -> Iterator[str]:
    """Yields the text of a file in pieces, without its byte order mark.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file.
        remedy: Where to get the file, for messages.
        chunk_bytes: Number of bytes that are read at once.

    Raises:
        SourceError: As in :func:`mulan.preparation.sources.official_files.read_official`.
        StorageError, StoragePermanentError: The file cannot be read.
    """
    try:
        size = filesystem.size(uri)
    except (FileNotFoundError, NotADirectoryError):
        size = 0  # read_official says what is missing
    if size <= chunk_bytes:
        yield read_official(source, uri, remedy=remedy)
        return
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    for start in range(0, size, chunk_bytes):
        (content,) = filesystem.read_ranges([uri], [start], [chunk_bytes])
        if isinstance(content, Exception):
            raise content
        try:
            text = decoder.decode(content, final=start + chunk_bytes >= size)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            fault = f"not UTF-8: it is compressed, or another program changed it; {remedy}"
            raise SourceError(source, [at_line(uri, line, fault)]) from error
        if "\0" in text:
            line += text.count("\n", 0, text.index("\0"))
            raise SourceError(source, [at_line(uri, line, f"zeros instead of text, the file is damaged; {remedy}")])
        line += text.count("\n")
        yield text


def lines_of(chunks: Iterable[str]) -> Iterator[str]:
    """Yields the lines of a text that comes in pieces, each with its line feed; other characters end no line."""
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            yield f"{line}\n"
    if rest:
        yield rest


def json_entries(
    source: str, uri: str, *, remedy: str, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[int, str, Any]]:
    """Yields the entries of a JSON file that is one object: the line of each, counted from 1, its name and its value.

    Args:
        source: The source, as ``KIND=PATH``, for messages.
        uri: Path or URI of the file.
        remedy: Where to get the file, for messages.
        chunk_bytes: Number of bytes that are read at once.

    Raises:
        SourceError: The file cannot be read as text, is truncated or no JSON, or has an entry of more than
            :data:`MAX_ENTRY` characters. What precedes the fault has been yielded.
        StorageError, StoragePermanentError: The file cannot be read.
    """
    text = _PartialJson(text_chunks(source, uri, remedy=remedy, chunk_bytes=chunk_bytes))
    try:
        text.expect("{")
        more = text.peek() != "}"
        while more:
            text.peek()
            line = text.line()
            name = text.value()
            if not isinstance(name, str):
                raise ValueError("an entry without a name")
            text.expect(":")
            yield line, name, text.value()
            more = text.peek() == ","
            if more:
                text.expect(",")
        text.expect("}")
        text.expect("")
    except SourceError:
        raise
    except (ValueError, RecursionError) as error:  # RecursionError: deeply nested lists
        detail = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        fault = f"truncated or damaged JSON: {detail}; {remedy}"
        raise SourceError(source, [at_line(uri, text.line(), fault)]) from error


class _PartialJson:
    """JSON that comes in pieces, of which only the part that is being parsed is held."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._text, self._position = "", 0
        self._line, self._counted = 1, 0

    def line(self) -> int:
        """Returns the number of the current line, counted from 1."""
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def peek(self) -> str:
        """Skips blanks and returns the next character; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._position)
            self._position = blanks.end() if blanks else self._position
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._extend():
                return ""

    def expect(self, character: str) -> None:
        """Skips blanks and a character; raises ValueError if there is another one."""
        found = self.peek()
        if found != character:
            raise ValueError(f"{found!r} instead of {character!r}")
        self._position += len(character)

    def value(self) -> Any:
        """Returns the next value; raises ValueError if there is none."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
            except ValueError:
                if len(self._text) - self._position > MAX_ENTRY or not self._extend():
                    raise
            else:
                if end == len(self._text) and self._extend():  # it may go on, as a number would
                    continue
                self._position = end
                return value

    def _extend(self) -> bool:
        """Reads the next piece and forgets what has been parsed; returns False if there is none."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self.line()
        self._text = self._text[self._position :] + chunk
        self._position = self._counted = 0
        return True
