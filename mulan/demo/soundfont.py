"""Rewrites a soundfont so that the renderer plays it in tune.

In a SoundFont 2 file a zone may override the root key of its sample (generator 58, ``overridingRootKey``). The renderer
ignores this and reads the root key from the sample's header, so most instruments sound in wrong keys. The root keys are
therefore written to the headers: every sample gets one header for each root key with which zones use it (SoundFont
Technical Specification 2.04, sections 7.9, 7.10 and 8.1.2).
"""

import itertools
import struct
from dataclasses import dataclass

_GENERATOR = struct.Struct("<Hh")
_ZONE = struct.Struct("<HH")
_HEADER = struct.Struct("<20sIIIIIBbHH")
_CHUNK = struct.Struct("<4sI")
_SAMPLE_ID, _ROOT_KEY = 53, 58
_ORIGINAL_PITCH = 6
"""Index of the root key in a sample header."""


@dataclass(frozen=True)
class _Chunk:
    """Position of a chunk's content in the file, in bytes."""

    start: int
    length: int


def in_tune(soundfont: bytes) -> bytes:
    """Returns an equivalent soundfont whose sample headers contain the root keys of the zones."""
    chunks = _find_chunks(soundfont)
    generators = _records(soundfont, chunks["igen"], _GENERATOR)
    zones = _records(soundfont, chunks["ibag"], _ZONE)
    *headers, terminal = _records(soundfont, chunks["shdr"], _HEADER)
    number_of: dict[tuple[int, int], int] = {}
    rooted: list[tuple] = []
    for (first, _), (end, _) in itertools.pairwise(zones):
        places = {generators[place][0]: place for place in range(first, end)}
        if _SAMPLE_ID not in places:
            continue
        sample = generators[places[_SAMPLE_ID]][1]
        root = generators[places[_ROOT_KEY]][1] if _ROOT_KEY in places else headers[sample][_ORIGINAL_PITCH]
        if (sample, root) not in number_of:
            number_of[sample, root] = len(rooted)
            rooted.append((*headers[sample][:_ORIGINAL_PITCH], root, *headers[sample][_ORIGINAL_PITCH + 1 :]))
        generators[places[_SAMPLE_ID]] = (_SAMPLE_ID, number_of[sample, root])
    return _with_records(soundfont, chunks, generators, [*rooted, terminal])


def _find_chunks(file: bytes) -> dict[str, _Chunk]:
    """Returns all chunks by name, including those within lists; a list is named by its type."""
    found = {"RIFF": _Chunk(8, len(file) - 8)}
    pending = [(12, len(file))]
    while pending:
        place, end = pending.pop()
        while place < end:
            name, length = _CHUNK.unpack_from(file, place)
            start = place + _CHUNK.size
            if name == b"LIST":
                found[file[start : start + 4].decode()] = _Chunk(start, length)
                pending.append((start + 4, start + length))
            else:
                found[name.decode()] = _Chunk(start, length)
            place = start + length + length % 2
    return found


def _records(file: bytes, chunk: _Chunk, layout: struct.Struct) -> list[tuple]:
    return list(layout.iter_unpack(file[chunk.start : chunk.start + chunk.length]))


def _with_records(file: bytes, chunks: dict[str, _Chunk], generators: list[tuple], headers: list[tuple]) -> bytes:
    """Replaces the generators (by the same number) and the sample headers (by any number, as the last chunk)."""
    last = chunks["shdr"]
    assert last.start + last.length == len(file), "sample headers end a SoundFont 2 file"
    content = b"".join(_HEADER.pack(*header) for header in headers)
    result = bytearray(file[: last.start] + content)
    for place, generator in enumerate(generators):
        _GENERATOR.pack_into(result, chunks["igen"].start + place * _GENERATOR.size, *generator)
    for name in ("RIFF", "pdta", "shdr"):
        struct.pack_into("<I", result, chunks[name].start - 4, len(result) - chunks[name].start)
    return bytes(result)
