"""Chunks of recordings: the unit of work of a preparation, each of which becomes one shard.

A chunk begins and ends where the ids of recordings say so, not after a fixed number of them. If recordings are added or
removed, all chunks but theirs stay what they are, and their shards need not be written again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar

from mulan.preparation.found import AudioLocation, FoundRecording

FORMAT = 1
"""Version of shards, incremented whenever the same recordings and settings give other bytes."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of recordings. Its name depends on all that decides the bytes of its shard but the audio files."""

    name: str
    """Hexadecimal digest of the recordings without the locations of their audio, and of the settings."""
    audio_version: str
    """Hexadecimal digest of the locations and versions of the audio files."""
    recordings: int
    """Number of recordings."""

    @property
    def file_name(self) -> str:
        """Name of the files that describe the chunk and its result; it changes if an audio file does."""
        return f"{self.name}-{self.audio_version}"

    @property
    def shard_name(self) -> str:
        """Name of the shard, relative to the folder of the corpus. Copies of the same sources give the same name."""
        return f"shards/{self.name}.tar"


class _Named(Protocol):
    @property
    def recording_id(self) -> str: ...


R = TypeVar("R", bound=_Named)


def in_chunks(recordings: Iterable[R], mean_size: int) -> Iterator[list[R]]:
    """Groups recordings into chunks of ``mean_size`` on average, and at most twice as many.

    After half of the mean size, a chunk ends with the first recording whose id has a digest that is a multiple of the
    other half, which is every so many recordings on average.
    """
    shortest = mean_size // 2
    divisor, longest = max(1, mean_size - shortest), 2 * mean_size
    chunk: list[R] = []
    for recording in recordings:
        chunk.append(recording)
        if len(chunk) > shortest and (_number(recording.recording_id) % divisor == 0 or len(chunk) == longest):
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def describe_chunk(recordings: Sequence[FoundRecording], settings: str) -> Chunk:
    """Returns the chunk of some recordings.

    Args:
        recordings: Its recordings.
        settings: What else decides the bytes of a shard.
    """
    contents = [{**asdict(recording), "audio": None} for recording in recordings]
    name = _digest([FORMAT, settings, contents], 16)
    return Chunk(name, _digest([asdict(recording.audio) for recording in recordings], 8), len(recordings))


def to_json(recordings: Sequence[FoundRecording]) -> bytes:
    """Returns recordings as UTF-8 JSON, which :func:`from_json` reads."""
    return json.dumps([asdict(recording) for recording in recordings], ensure_ascii=False).encode()


def from_json(content: bytes) -> list[FoundRecording]:
    """Returns recordings from the result of :func:`to_json`."""
    return [FoundRecording(**{**values, "audio": AudioLocation(**values["audio"])}) for values in json.loads(content)]


def _number(recording_id: str) -> int:
    return int.from_bytes(hashlib.sha256(recording_id.encode()).digest()[:8], "big")


def _digest(value: object, size: int) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[: 2 * size]
