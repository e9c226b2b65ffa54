"""The parts of a collection, which of them are there already, and what is known of those.

A part begins and ends where ids of recordings say so, and its name depends on all that decides its content. If
recordings are added or change, all parts but theirs stay what they are.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.collection.part import PART_NAME, Dtype, part_name, part_schema, write_part
from mulan.collection.recordings import AudioCollection, CollectionRecording
from mulan.config.errors import MulanError
from mulan.data.corpus.index import Location
from mulan.evaluation.embedding.collected import UNREAD
from mulan.evaluation.encoders.encoder import EncoderInfo
from mulan.preparation.chunks import in_chunks
from mulan.storage import filesystem
from mulan.storage.ranged_file import RangedFile

FORMAT = 1
"""Version of parts, increased whenever the same recordings and settings give other rows."""
_METADATA = b"mulan"
_READERS = 16
"""Number of parts of which the ends are read at once."""


@dataclass(frozen=True)
class Settings:
    """What decides the content of parts, beside the recordings."""

    info: EncoderInfo
    """The encoder."""
    dtype: Dtype = "float32"
    """Type of the numbers of vectors."""
    windows: bool = False
    """Whether the vectors of windows are kept."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of a part."""
        return part_schema(self.info.dim, self.dtype, windows=self.windows)

    @property
    def identity(self) -> dict[str, Any]:
        """What the names of parts depend on."""
        info = self.info
        encoder = [info.sha256, info.sample_rate_hz, info.window_samples, info.dim, info.is_unit]
        return {"format": FORMAT, "encoder": encoder, "dtype": self.dtype, "windows": self.windows}


@dataclass(frozen=True)
class PlannedPart:
    """A part of a collection."""

    name: str
    """Name of its file."""
    recordings: Sequence[CollectionRecording]
    """Its recordings in ascending order of their ids, each with its number here as the position."""


@dataclass(frozen=True)
class FinishedPart:
    """What is known of a part that is written."""

    rows: int
    """Number of its rows."""
    skipped: Sequence[Mapping[str, str]]
    """The recordings that are not among them, rows of :data:`mulan.collection.embeddings.SKIPPED_SCHEMA`."""

    @property
    def is_lasting(self) -> bool:
        """Whether the same recordings would be skipped again: False if the bytes of one could not be read."""
        return not any(each["reason"] in UNREAD for each in self.skipped)


@dataclass(frozen=True)
class EmbeddingPlan:
    """The parts of a collection in a folder."""

    folder_uri: str
    """Folder of the embeddings."""
    parts: Sequence[PlannedPart]
    """All parts, in ascending order of the ids."""
    finished: dict[str, FinishedPart]
    """Those that are written, by name; those that are made are added."""
    stale: Sequence[str]
    """Names of files of parts of other recordings or settings."""

    @property
    def missing(self) -> list[PlannedPart]:
        """The parts that are still to be made."""
        return [part for part in self.parts if part.name not in self.finished]


def plan_parts(
    collection: AudioCollection, settings: Settings, folder_uri: str, *, recordings_per_part: int
) -> EmbeddingPlan:
    """Divides a collection into parts, and looks up which of them are there.

    Args:
        collection: The recordings.
        settings: What else decides the content of parts.
        folder_uri: Folder of the embeddings, which need not exist.
        recordings_per_part: Number of recordings of a part on average; there are at most twice as many.

    Raises:
        StorageError, StoragePermanentError: The folder cannot be read.
    """
    parts = [
        PlannedPart(
            _name(recordings, settings), [replace(each, position=number) for number, each in enumerate(recordings)]
        )
        for recordings in in_chunks(collection.recordings, recordings_per_part)
    ]
    existing = {name for name in filesystem.names_in(folder_uri) if PART_NAME.fullmatch(name)}
    wanted = [part.name for part in parts if part.name in existing]
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(wanted, pool.map(lambda name: read_finished(folder_uri, name), wanted), strict=True))
    finished = {name: each for name, each in found.items() if each is not None and each.is_lasting}
    return EmbeddingPlan(folder_uri, parts, finished, sorted(existing - {part.name for part in parts}))


def _name(recordings: Sequence[CollectionRecording], settings: Settings) -> str:
    contents = [list(_contents(each)) for each in recordings]
    text = json.dumps([settings.identity, contents], sort_keys=True)
    return part_name(hashlib.sha256(text.encode()).hexdigest()[:32])


def _contents(recording: CollectionRecording) -> Iterator[Any]:
    place = recording.place
    yield recording.recording_id
    yield list(place) if isinstance(place, Location) else asdict(place)
    yield from (recording.version, recording.tags, recording.title, recording.artist)
    yield from (recording.start_s, recording.end_s)


def write_finished(folder_uri: str, name: str, table: pa.Table, skipped: Sequence[Mapping[str, str]]) -> FinishedPart:
    """Writes a part with what :func:`read_finished` reads.

    Raises:
        StorageError, StoragePermanentError: The file cannot be written.
    """
    stated = json.dumps({"skipped": list(skipped)}, ensure_ascii=False).encode()
    write_part(folder_uri, name, table.replace_schema_metadata({_METADATA: stated}))
    return FinishedPart(table.num_rows, skipped)


def read_finished(folder_uri: str, name: str) -> FinishedPart | None:
    """Reads what is known of a part from the end of its file; None if there is none, or it is damaged.

    Raises:
        StorageError, StoragePermanentError: The folder cannot be read.
    """
    try:
        with RangedFile(filesystem.join(folder_uri, name)) as file:
            metadata = pq.read_metadata(file)
        skipped = json.loads(metadata.metadata[_METADATA])["skipped"]
        return FinishedPart(metadata.num_rows, [{key: str(each[key]) for key in _FIELDS} for each in skipped])
    except MulanError:
        raise
    except Exception:  # pyarrow raises many kinds of exceptions for damaged files
        return None


_FIELDS = ("recording_id", "uri", "reason", "detail")
