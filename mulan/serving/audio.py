"""Streaming of audio files of the index, whole or in ranges of bytes, from a local disk or an object store.

A client names a recording, and never a path: the file and the bytes in it are those that the index states.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mulan.config.errors import MulanError
from mulan.search.rows import IndexedRow
from mulan.storage import filesystem

CHUNK_BYTES = 2**18
"""Number of bytes that are in memory at once for each client."""
READ_TIMEOUT_S = 20.0
"""Maximum time in seconds in which the storage has to give that number of bytes."""
_READERS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="audio")
"""Threads that read, and do nothing else: searches must not wait for a storage that does not answer."""
_RANGE = re.compile(r"(?i)bytes=(\d{0,18})-(\d{0,18})")

_MEDIA_TYPES = {
    "aac": "audio/aac", "adts": "audio/aac", "aif": "audio/aiff", "aifc": "audio/aiff", "aiff": "audio/aiff",
    "flac": "audio/flac", "m4a": "audio/mp4", "m4b": "audio/mp4", "mka": "audio/x-matroska", "mp1": "audio/mpeg",
    "mp2": "audio/mpeg", "mp3": "audio/mpeg", "mp4": "audio/mp4", "mpga": "audio/mpeg", "oga": "audio/ogg",
    "ogg": "audio/ogg", "opus": "audio/ogg", "spx": "audio/ogg", "wav": "audio/wav", "wave": "audio/wav",
    "weba": "audio/webm", "webm": "audio/webm",
}  # fmt: skip
"""Media types of what browsers may play. A list of our own: that of the system differs between machines, and has types
that a browser would show instead of playing."""


class UnavailableAudio(MulanError):
    """The audio of a recording cannot be read from where the index says it is."""


class UnansweredRead(MulanError):
    """The storage of the audio does not answer at the moment."""


class UnsatisfiableRange(MulanError):
    """A range of bytes begins after the end of the audio."""

    def __init__(self, length: int) -> None:
        self.length = length
        super().__init__(f"the audio has {length} bytes, and the range begins after them")


@dataclass(frozen=True)
class ByteRange:
    """The bytes of a file that a client asks for."""

    start: int
    """The first one."""
    end: int
    """The one after the last one."""
    is_part: bool
    """Whether it is not simply the whole file."""

    @classmethod
    def parsed(cls, header: str | None, length: int) -> "ByteRange":
        """Parses the ``Range`` header of a request (RFC 9110 §14); what is no single range of bytes is ignored.

        Args:
            header: Its value; None without one.
            length: Length of the file in bytes.

        Raises:
            UnsatisfiableRange: It begins after the end.
        """
        match = _RANGE.fullmatch(header.strip()) if header else None
        if match is None or match[0].endswith("=-"):
            return cls(0, length, is_part=False)
        first, last = match.groups()
        if not first:  # the last bytes
            if not int(last) or not length:
                raise UnsatisfiableRange(length)
            return cls(max(0, length - int(last)), length, is_part=True)
        start, end = int(first), min(int(last) + 1, length) if last else length
        if last and int(last) < start:
            return cls(0, length, is_part=False)
        if start >= length:
            raise UnsatisfiableRange(length)
        return cls(start, end, is_part=True)


def media_type(extension: str) -> str:
    """Returns the media type of an audio file by its extension; that of unspecified bytes if it is no known one."""
    return _MEDIA_TYPES.get(extension, "application/octet-stream")


async def read_audio(row: IndexedRow, wanted: ByteRange) -> AsyncIterator[bytes]:
    """Yields the bytes of a range of a recording's audio, in chunks.

    Raises:
        UnavailableAudio: The file is missing or too short.
        UnansweredRead: The storage does not answer.
        StorageError: The storage failed.
    """
    position = wanted.start
    while position < wanted.end:
        count = min(CHUNK_BYTES, wanted.end - position)
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                content = await asyncio.get_running_loop().run_in_executor(_READERS, _read, row, position, count)
        except TimeoutError as error:
            raise UnansweredRead("the storage of the audio does not answer; try again in a minute") from error
        yield content
        position += count


def _read(row: IndexedRow, position: int, count: int) -> bytes:
    (content,) = filesystem.read_ranges([row.uri], [row.offset + position], [count])
    if isinstance(content, Exception):
        raise UnavailableAudio(f"the audio of {row.recording_id!r:.200} cannot be read") from content
    if len(content) < count:
        raise UnavailableAudio(f"the file of the audio of {row.recording_id!r:.200} has been truncated")
    return content
