"""Writing of one chunk of recordings: their audio is decoded, detected and written with their texts to one shard.

The functions are independent of Ray, and the result depends on the chunk alone: the shard has the same bytes whoever
writes it, and however often.
"""

import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from mulan.data.corpus.index_rows import SCHEMA, index_row
from mulan.data.corpus.metadata import check_metadata
from mulan.data.corpus.writing import add_members
from mulan.data.errors import BadRecording
from mulan.preparation.chunks import Chunk
from mulan.preparation.clips import Clip, make_clip
from mulan.preparation.found import FoundRecording
from mulan.preparation.locations import read_audio
from mulan.preparation.settings import ClipConfig
from mulan.storage import filesystem
from mulan.storage.errors import permanent_error
from mulan.storage.staging import staging_folder

NOT_MUSIC = "not music"
"""Why a recording is left out that the music detector refuses."""

RESULT_SCHEMA = pa.schema(
    [
        *SCHEMA,  # offset and length are 0 if the recording is left out
        pa.field("reason", pa.string(), nullable=False),  # why the recording is left out; empty if it is kept
        pa.field("detail", pa.string(), nullable=False),
        pa.field("fault", pa.string(), nullable=False),  # damage of a recording that is kept
        pa.field("artist", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),  # of the clip's samples
        pa.field("recording_s", pa.float64(), nullable=False),  # duration of the whole recording
        pa.field("silent_share", pa.float32(), nullable=False),
        pa.field("clipped_share", pa.float32(), nullable=False),
        pa.field("music_share", pa.float32()),  # null without a music detector
        pa.field("removed_texts", pa.list_(pa.string()), nullable=False),  # by a classifier of long-form texts
    ]
)
"""What is known of each recording of a chunk after its shard was written: first the columns of the index."""


@dataclass(frozen=True, kw_only=True)
class DecodedRecording:
    """A recording whose audio has been decoded, or the reason why it is left out."""

    found: FoundRecording
    clip: Clip | None = None
    """The clip; None if the recording is left out."""
    music_share: float | None = None
    """Share of the clip that is music; None if it is unknown."""
    removed_texts: tuple[str, ...] = ()
    """Long-form texts that a classifier has removed."""
    reason: str = ""
    """Why the recording is left out, a short phrase; empty if it is kept."""
    detail: str = ""
    """Details of the reason in one line."""

    def left_out(self, reason: str, detail: str) -> "DecodedRecording":
        """Returns the recording without its audio, with the reason why it is left out."""
        return replace(self, clip=None, reason=reason, detail=detail)


def decoded(recordings: Iterable[FoundRecording], config: ClipConfig) -> Iterator[DecodedRecording]:
    """Reads and decodes the audio of recordings, one at a time.

    Raises:
        StorageError, StoragePermanentError: The storage of the audio failed.
    """
    for found in recordings:
        result = DecodedRecording(found=found)
        try:
            audio = read_audio(found.audio)
            yield replace(result, clip=make_clip(audio, config, start_s=found.start_s, end_s=found.end_s))
        except BadRecording as error:
            yield result.left_out(error.reason, error.detail)


def write_shard(recordings: Iterable[DecodedRecording], chunk: Chunk, corpus_uri: str) -> pa.Table:
    """Writes the shard of a chunk, which readers see whole or not at all; writes none if all recordings are left out.

    Returns:
        A row for each recording, :data:`RESULT_SCHEMA`.

    Raises:
        StorageError, StoragePermanentError: The shard could not be written.
    """
    try:
        return _write_shard(recordings, chunk, corpus_uri)
    except OSError as error:  # of the temporary file, such as a full disk
        raise permanent_error(f"{corpus_uri} cannot be written", error) or error from error


def _write_shard(recordings: Iterable[DecodedRecording], chunk: Chunk, corpus_uri: str) -> pa.Table:
    rows: list[dict[str, Any]] = []
    with staging_folder(corpus_uri) as temporary:
        path = os.path.join(temporary, "shard.tar")
        with tarfile.open(path, mode="w", encoding="utf-8") as tar:
            rows.extend(_write(tar, recording, chunk.shard_name) for recording in recordings)
            is_empty = tar.offset == 0
        if not is_empty:
            filesystem.upload(path, filesystem.join(corpus_uri, chunk.shard_name))
    return pa.Table.from_pylist(rows, RESULT_SCHEMA)


def _write(tar: tarfile.TarFile, recording: DecodedRecording, shard_name: str) -> dict[str, Any]:
    """Adds a recording to a shard, and returns its row."""
    found, clip = recording.found, recording.clip
    metadata = _metadata(found, clip)
    if clip is not None:
        try:
            check_metadata(metadata)
        except BadRecording as error:
            recording, clip = recording.left_out(error.reason, error.detail), None
    offset, length = 0, 0
    if clip is not None:
        offset, length = add_members(tar, found.recording_id, "flac", clip.flac, metadata)
    row = index_row(found.recording_id, shard_name, [(offset, length)], metadata)
    return row | {
        "reason": recording.reason,
        "detail": recording.detail,
        "fault": clip.fault if clip else "",
        "artist": found.artist,
        "sha256": clip.sha256 if clip else "",
        "recording_s": clip.recording_s if clip else 0.0,
        "silent_share": clip.silent_share if clip else 0.0,
        "clipped_share": clip.clipped_share if clip else 0.0,
        "music_share": recording.music_share,
        "removed_texts": list(recording.removed_texts),
    }


def _metadata(found: FoundRecording, clip: Clip | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "recording_id": found.recording_id,
        "split": found.split,
        "texts": {source: list(texts) for source, texts in found.texts.items() if texts},
        "tags": list(found.tags),
        "provenance": found.provenance,
        "licence": found.licence,
        "duration_s": clip.duration_s if clip else 0.0,
    }
    named: Mapping[str, str] = {"title": found.title, "artist": found.artist}
    return metadata | {name: text for name, text in named.items() if text} | _targets(found)


def _targets(found: FoundRecording) -> dict[str, Any]:
    return {"targets": dict(found.targets)} if found.targets else {}
