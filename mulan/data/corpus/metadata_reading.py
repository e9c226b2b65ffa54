"""Reading of the metadata of recordings alone: the headers of their tar members and the texts, but not the audio."""

from collections.abc import Generator, Sequence
from typing import Any

from mulan.data.corpus.index import Location
from mulan.data.corpus.records import is_text, metadata_of, read_fragments
from mulan.data.corpus.tar_members import list_members, split_name
from mulan.data.errors import BadRecording
from mulan.storage import filesystem

_Texts = dict[str, bytes]
_BLOCK_BYTES = 512
_PIECE_BYTES = 4096
"""Number of bytes that are read at once: a header, and usually the texts behind it."""

Reading = Generator[tuple[int, int], bytes, dict[str, Any]]
"""The reading of a recording's metadata: it yields offsets and lengths in the concatenation of the recording's ranges,
receives their bytes, and returns the metadata."""


def read_metadata(locations: Sequence[Location]) -> list[dict[str, Any] | BadRecording]:
    """Reads the metadata of recordings, concurrently where the storage supports that, or says why one has none.

    Raises:
        StorageError, StoragePermanentError: As in :func:`mulan.storage.filesystem.read_ranges`.
    """
    results: list[dict[str, Any] | BadRecording | None] = [None] * len(locations)
    readings = {number: _reading(location) for number, location in enumerate(locations)}
    wanted = {number: next(reading) for number, reading in readings.items()}
    while wanted:  # one piece of each recording that is not finished
        pieces = _read_pieces([(locations[number], *piece) for number, piece in wanted.items()])
        for number, piece in zip(list(wanted), pieces, strict=True):
            try:
                if isinstance(piece, Exception):
                    raise BadRecording("unreadable shard", f"{type(piece).__name__}: {piece}")
                wanted[number] = readings[number].send(piece)
            except StopIteration as finished:
                results[number] = finished.value
                del wanted[number]
            except BadRecording:
                results[number] = _from_all_members(locations[number])
                del wanted[number]
    return [result for result in results if result is not None]


def _reading(location: Location) -> Reading:
    """Reads from header to header. A tar with unusual headers raises, and is then read as a whole."""
    total, offset = sum(length for _, length in location.ranges), 0
    key, texts = "", _Texts()
    while offset < total:
        piece = yield offset, min(_PIECE_BYTES, total - offset)
        members = list_members(piece)
        if not members:
            raise BadRecording("truncated shard", "there is no header of a member")
        for name, start, size in members:
            end = start + size
            split = split_name(name)
            if split is not None:
                key = key or split[0]
                if is_text(split[1]):
                    if end > len(piece):
                        piece += yield offset + len(piece), end - len(piece)
                    texts[split[1]] = _whole(piece[start:end], name, size)
            if end > len(piece):  # the header of the next member is behind audio
                break
        offset += end + -end % _BLOCK_BYTES
    return metadata_of(key, texts, location.fields)


def _whole(content: bytes, name: str, size: int) -> bytes:
    if len(content) != size:
        raise BadRecording("truncated shard", f"{name} has {len(content)} of {size} bytes")
    return content


def _from_all_members(location: Location) -> dict[str, Any] | BadRecording:
    """Reads the whole recording, which also tells what is wrong with it in the words of all other readers."""
    try:
        return dict(read_fragments([location])[0].record().metadata)
    except BadRecording as error:
        return error


def _read_pieces(pieces: Sequence[tuple[Location, int, int]]) -> list[bytes | Exception]:
    """Reads an offset and length of each recording's concatenated ranges."""
    parts = [
        (number, location.uri, *part)
        for number, (location, offset, length) in enumerate(pieces)
        for part in _physical(location, offset, length)
    ]
    numbers, uris, offsets, lengths = map(list, zip(*parts, strict=True)) if parts else ([], [], [], [])
    results: list[bytes | Exception] = [b""] * len(pieces)
    for number, read in zip(numbers, filesystem.read_ranges(uris, offsets, lengths), strict=True):
        before = results[number]
        if isinstance(before, bytes):
            results[number] = before + read if isinstance(read, bytes) else read
    return results


def _physical(location: Location, offset: int, length: int) -> list[tuple[int, int]]:
    """Returns where the bytes of a concatenation of ranges are in the shard."""
    found, before = [], 0
    for start, size in location.ranges:
        first, last = max(offset, before), min(offset + length, before + size)
        if first < last:
            found.append((start + first - before, last - first))
        before += size
    return found
