"""Writing of recordings as a corpus: tar shards and then, when all are complete, their index."""

import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulan.data.audio import windows
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import SCHEMA, index_row, index_tables, write_index
from mulan.data.corpus.metadata import check_metadata
from mulan.data.corpus.row_spool import RowSpool
from mulan.data.corpus.tar_members import key_of
from mulan.data.errors import BadRecording, CorpusError, OnError, Rejected, SkippedRecording
from mulan.data.text import is_unicode
from mulan.storage import filesystem
from mulan.storage.errors import StorageError, permanent_error
from mulan.storage.staging import staging_folder

_WRITTEN_HERE = re.compile(r"shards(-\d+)?/\d+\.tar")
"""Names of shards that may be removed; any other shard of an index may be the only copy of its recordings."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording to write."""

    recording_id: str
    """Id, unique in the corpus. Slashes separate folders in the tar."""
    audio: bytes | os.PathLike[str]
    """Encoded audio file, or its path. Mono at the model's rate is best: FLAC is small, 16-bit WAV decodes fastest."""
    extension: str
    """Extension of the audio file without the dot, for example ``flac``."""
    split: str
    """Name of the split: ``train``, ``validation`` or ``test``."""
    texts: Mapping[str, Sequence[str]]
    """Texts by source: ``short_form``, ``long_form``, ``playlist``, ``audioset``; a source may be missing."""
    tags: Sequence[str]
    """Tags as ``category:text``, for example ``genre:jazz``; the text is the zero-shot query, and the text of a pair if
    ``data.source_ratio.tags`` is above 0."""
    provenance: str
    """Origin of the recording, as free text."""
    licence: str
    """Licence of the recording, as free text."""
    duration_s: float | None = None
    """Duration of the audio in seconds; None to determine it from the audio."""


def write_corpus(
    recordings: Iterable[Recording],
    uri: str | os.PathLike[str],
    *,
    recordings_per_shard: int = 256,
    on_error: OnError = "raise",
) -> list[SkippedRecording]:
    """Writes a corpus: ``URI/shards/NNNNN.tar`` and, last, ``URI/index.parquet``.

    If ``shards`` exists, the folder is ``shards-1``, or the next free number.

    Recordings are consumed and written one at a time, so that memory does not depend on their number. An existing
    corpus is replaced once the new one is complete, and is kept if writing fails. The shards of an interrupted call are
    kept too, and can be adopted by :func:`mulan.data.corpus.adoption.index_shards`.

    Args:
        recordings: Iterable of recordings.
        uri: Folder of the corpus, on this machine or on any storage that fsspec supports.
        recordings_per_shard: Number of recordings per tar.
        on_error: ``"raise"`` examines all recordings, and writes no index if one of them cannot be used; ``"skip"``
            writes the others.

    Returns:
        The recordings that were skipped; none with ``"raise"``.

    Raises:
        CorpusError: A recording cannot be used (with ``"raise"``; lists the ids), or none of them can.
        StorageError: The corpus could not be written.
    """
    uri = filesystem.absolute(uri)
    if not uri:
        raise CorpusError("", ["the URI of the corpus is empty; name a folder"])
    rejected = Rejected(uri, on_error)
    rows = RowSpool(SCHEMA)
    with _ShardWriter(uri, recordings_per_shard) as shards:
        for table in index_tables(_written(recordings, shards, rejected)):
            rows.add(table)
    try:
        rejected.finish(rows.num_rows)
    except CorpusError:
        with suppress(StorageError):
            shards.remove()
        raise
    _replace_index(rows, uri, shards)
    return rejected.skipped


def _written(recordings: Iterable[Recording], shards: "_ShardWriter", rejected: Rejected) -> Iterator[dict[str, Any]]:
    """Writes recordings, and yields their rows of the index."""
    seen: set[str] = set()
    for recording in recordings:
        try:
            content = _read_audio(recording)
            metadata = _validated_metadata(recording, content, seen)
            if not rejected.failed:  # otherwise the remaining recordings are only checked
                name, offset, length = shards.add(recording, content, metadata)
                yield index_row(recording.recording_id, name, [(offset, length)], metadata)
        except BadRecording as error:
            rejected.add(str(getattr(recording, "recording_id", recording))[:200], error)
        content = b""
        del recording  # before the iterable creates the next one, to hold a single one in memory


class _ShardWriter:
    """Writes shards one after another to a temporary file, which is moved to the corpus when it is full.

    For a local corpus, the temporary file is in the folder of the corpus, because TMPDIR may be in memory.
    """

    def __init__(self, corpus_uri: str, recordings_per_shard: int) -> None:
        if recordings_per_shard < 1:
            raise CorpusError(corpus_uri, [f"recordings_per_shard is {recordings_per_shard}, but must be at least 1"])
        self._corpus_uri, self._max_recordings = corpus_uri, recordings_per_shard
        self._folder = _free_folder(corpus_uri)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._tar: tarfile.TarFile | None = None
        self._shards = self._recordings = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of the digests of the finished shards, in hexadecimal."""
        return self._digest.hexdigest()

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
            elif self._tar is not None:
                with suppress(OSError):  # a full disk, which was reported before
                    self._tar.close()
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()

    def add(self, recording: Recording, content: bytes, metadata: Mapping[str, Any]) -> tuple[str, int, int]:
        """Writes a recording; returns the name of its shard, and its offset and length there in bytes."""
        if self._recordings == self._max_recordings:
            self._finish()
        with self._storage_errors():
            if self._tar is None:
                self._tar = self._begin()
            offset, length = add_members(self._tar, recording.recording_id, recording.extension, content, metadata)
        self._recordings += 1
        return self._name, offset, length

    @property
    def names(self) -> set[str]:
        """Names of the finished shards, relative to the folder of the corpus."""
        return {self._name_of(number) for number in range(self._shards)}

    def remove(self) -> None:
        """Removes all shards that were written."""
        if self._shards:
            filesystem.remove_folder(filesystem.join(self._corpus_uri, self._folder))

    def _begin(self) -> tarfile.TarFile:
        if self._temporary is None:
            self._temporary = staging_folder(self._corpus_uri)
        return tarfile.open(self._path, mode="w", encoding="utf-8")

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Turns an OSError into a StoragePermanentError."""
        try:
            yield
        except OSError as error:
            raise permanent_error(f"{self._corpus_uri} cannot be written", error) or error from error

    @property
    def _name(self) -> str:
        return self._name_of(self._shards)

    def _name_of(self, number: int) -> str:
        return f"{self._folder}/{number:05d}.tar"

    @property
    def _path(self) -> str:
        assert self._temporary is not None
        return os.path.join(self._temporary.name, "shard.tar")

    def _finish(self) -> None:
        if self._tar is not None:
            with self._storage_errors():
                self._tar.close()
                with open(self._path, "rb") as shard:
                    self._digest.update(hashlib.file_digest(shard, "sha256").digest())
            filesystem.upload(self._path, filesystem.join(self._corpus_uri, self._name))
            self._tar, self._recordings, self._shards = None, 0, self._shards + 1


def add_members(
    tar: tarfile.TarFile, recording_id: str, extension: str, audio: bytes, metadata: Mapping[str, Any]
) -> tuple[int, int]:
    """Adds the members of a recording to a shard; the same arguments always add the same bytes.

    Args:
        tar: The shard, open for writing.
        recording_id: Id of the recording.
        extension: Extension of the audio file without the dot.
        audio: Encoded audio.
        metadata: Content of the recording's JSON.

    Returns:
        Offset and length in bytes of the recording in the shard.
    """
    offset, key = tar.offset, key_of(recording_id)
    _add(tar, f"{key}.{extension}", audio)
    _add(tar, f"{key}.json", json.dumps(metadata, ensure_ascii=False).encode())
    return offset, tar.offset - offset


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _free_folder(corpus_uri: str) -> str:
    """Returns the name of a new folder for shards, because existing ones may be in the index of another corpus."""
    names, number = set(filesystem.names_in(corpus_uri)), 1
    while f"shards-{number}" in names:
        number += 1
    return f"shards-{number}" if "shards" in names else "shards"


def _replace_index(rows: RowSpool, uri: str, shards: _ShardWriter) -> None:
    """Writes the index, and removes the shards of the previous index that this module has written."""
    old_shards: set[str] = set()
    with suppress(CorpusError):  # there is none, or it is unreadable
        old_shards = set(Corpus.open(uri).column("uri").dictionary.to_pylist())
    write_index(rows, uri, content_sha256=shards.sha256)
    for shard in old_shards - shards.names:
        if _WRITTEN_HERE.fullmatch(shard):
            filesystem.remove(filesystem.join(uri, shard))
    for folder in {shard.partition("/")[0] for shard in old_shards if _WRITTEN_HERE.fullmatch(shard)}:
        if not filesystem.names_in(filesystem.join(uri, folder)):
            filesystem.remove_folder(filesystem.join(uri, folder))


def _read_audio(recording: Recording) -> bytes:
    """Returns the encoded audio of a recording.

    Raises:
        BadRecording: The argument is not a Recording, or its audio is of the wrong type or cannot be read.
    """
    if not isinstance(recording, Recording):
        raise BadRecording(
            "not a recording", f"a {type(recording).__name__}, not a mulan.data.corpus.writing.Recording"
        )
    if isinstance(recording.audio, bytes):
        return recording.audio
    if not isinstance(recording.audio, os.PathLike):
        raise BadRecording("unusable", f"its audio is a {type(recording.audio).__name__}, neither bytes nor a path")
    try:
        return Path(recording.audio).expanduser().read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise BadRecording("missing file", f"{recording.audio}: {getattr(error, 'strerror', None) or error}") from error


def _validated_metadata(recording: Recording, content: bytes, seen: set[str]) -> dict[str, Any]:
    """Checks a recording and returns the metadata for its JSON.

    Raises:
        BadRecording: The recording cannot be used; lists all faults.
    """
    faults = []
    name = recording.recording_id
    if not (isinstance(name, str) and name and is_unicode(name)):
        faults.append(f"its id is {name!r:.80}, not Unicode text")
    elif name in seen:
        faults.append("its id is a duplicate")
    if not content:
        faults.append("its audio is empty")
    extension = recording.extension
    if not (isinstance(extension, str) and extension.isascii() and extension.isalnum() and extension.lower() != "json"):
        faults.append(f"its extension is {extension!r:.80}; write it as 'flac', 'mp3' and so on")
    metadata = {field: value for field, value in vars(recording).items() if field not in ("audio", "extension")}
    if metadata["duration_s"] is None:
        metadata["duration_s"] = 1.0 if faults else windows.duration_s(content)
    try:
        check_metadata(metadata)
    except BadRecording as error:
        faults.append(error.detail)
    if faults:
        raise BadRecording("unusable", "; ".join(faults))
    seen.add(name)
    return metadata | {"duration_s": float(metadata["duration_s"]), "texts": dict(recording.texts)}
