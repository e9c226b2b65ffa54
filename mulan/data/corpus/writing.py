"""Recordings are written as a corpus: tars, and last the index over them."""

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

import pyarrow as pa

from mulan.data.audio import windows
from mulan.data.corpus.index import SCHEMA, Corpus, index_row, write_index
from mulan.data.corpus.metadata import check_metadata
from mulan.data.corpus.tar_members import key_of
from mulan.data.errors import BadRecording, CorpusError, OnError, Rejected, SkippedRecording
from mulan.data.text import is_unicode
from mulan.storage import filesystem
from mulan.storage.errors import StorageError, permanent_error

_WRITTEN_HERE = re.compile(r"shards(-\d+)?/\d+\.tar")
"""Shards that may be removed: any other that an index names may be somebody's only copy."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording to be written."""

    recording_id: str
    """Unique in the corpus. Slashes make folders in the tar."""
    audio: bytes | os.PathLike[str]
    """One encoded audio file or its path, best mono at the model's rate: FLAC is small, 16-bit WAV takes the least CPU
    to read."""
    extension: str
    """Of the audio file, without the dot: ``flac``."""
    split: str
    """``train``, ``validation`` or ``test``."""
    texts: Mapping[str, Sequence[str]]
    """Texts by source: ``short_form``, ``long_form``, ``playlist``, ``audioset``; a source may be missing."""
    tags: Sequence[str]
    """``category:text``, as in ``genre:jazz``; the text is the zero-shot query."""
    provenance: str
    licence: str
    duration_s: float | None = None
    """Length of the audio in seconds; read from it if None."""


def write_corpus(
    recordings: Iterable[Recording],
    uri: str | os.PathLike[str],
    *,
    recordings_per_shard: int = 256,
    on_error: OnError = "raise",
) -> list[SkippedRecording]:
    """Writes a corpus: ``URI/shards/NNNNN.tar`` and, last, ``URI/index.parquet``.

    Where ``shards`` is there already, the folder is ``shards-1`` or the next that is not.

    Recordings are taken and written one at a time; memory does not depend on their number in a shard. A corpus that is
    there already is replaced when the new one is whole, and stays if that fails. Shards of a call that is interrupted
    stay as well, for :func:`mulan.data.corpus.adoption.index_shards` to adopt.

    Args:
        recordings: any iterable.
        uri: a folder, on this machine or on any storage that fsspec knows.
        recordings_per_shard: recordings in a tar.
        on_error: ``"raise"`` looks at all recordings, and writes no index if one of them cannot be used; ``"skip"``
            writes the others.

    Returns:
        The recordings that were skipped; none with ``"raise"``.

    Raises:
        CorpusError: recordings that cannot be used, by id (``"raise"``), or none that can.
        StorageError: the corpus could not be written.
    """
    uri = filesystem.absolute(uri)
    if not uri:
        raise CorpusError("", ["the corpus is named by nothing; name a folder"])
    rejected = Rejected(uri, on_error)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    with _ShardWriter(uri, recordings_per_shard) as shards:
        for recording in recordings:
            try:
                content = _audio(recording)
                metadata = _checked(recording, content, seen)
                if not rejected.refuses:  # else the others are only looked at
                    name, offset, length = shards.add(recording, content, metadata)
                    rows.append(index_row(recording.recording_id, name, offset, length, metadata))
            except BadRecording as error:
                rejected.add(str(getattr(recording, "recording_id", recording))[:200], error)
            content = b""
            del recording  # before the next one is made: there is memory for one
    try:
        rejected.settle(len(rows))
    except CorpusError:
        with suppress(StorageError):
            shards.remove()
        raise
    _replace_index(rows, uri)
    return rejected.skipped


class _ShardWriter:
    """Writes one shard after the other: on this machine, and when it is full to where it belongs.

    If that is this machine too, it is made beside the corpus: temporary files may be kept in memory.
    """

    def __init__(self, corpus_uri: str, recordings_per_shard: int) -> None:
        if recordings_per_shard < 1:
            raise CorpusError(corpus_uri, [f"recordings_per_shard is {recordings_per_shard}; at least 1 is needed"])
        self._corpus_uri, self._most = corpus_uri, recordings_per_shard
        self._folder = _free_folder(corpus_uri)
        self._aside: tempfile.TemporaryDirectory[str] | None = None
        self._tar: tarfile.TarFile | None = None
        self._shards = self._recordings = 0

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
            elif self._tar is not None:
                with suppress(OSError):  # of a full disk, which has been told
                    self._tar.close()
        finally:
            if self._aside is not None:
                self._aside.cleanup()

    def add(self, recording: Recording, content: bytes, metadata: Mapping[str, Any]) -> tuple[str, int, int]:
        """Name of the shard, first byte of the recording in it, and its bytes."""
        if self._recordings == self._most:
            self._finish()
        with self._told():
            if self._tar is None:
                self._tar = self._begin()
            offset, key = self._tar.offset, key_of(recording.recording_id)
            _add(self._tar, f"{key}.{recording.extension}", content)
            _add(self._tar, f"{key}.json", json.dumps(metadata, ensure_ascii=False).encode())
        self._recordings += 1
        return self._name, offset, self._tar.offset - offset

    def remove(self) -> None:
        """Removes all shards that were written."""
        if self._shards:
            filesystem.remove_folder(filesystem.join(self._corpus_uri, self._folder))

    def _begin(self) -> tarfile.TarFile:
        if self._aside is None:
            folder = filesystem.url_to_fs(self._corpus_uri)[1] if filesystem.is_local(self._corpus_uri) else None
            if folder is not None:
                os.makedirs(folder, exist_ok=True)
            self._aside = tempfile.TemporaryDirectory(prefix=".being-written-", dir=folder)
        return tarfile.open(self._path, mode="w", encoding="utf-8")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tells what the machine answers as storage does."""
        try:
            yield
        except OSError as error:
            raise permanent_error(f"{self._corpus_uri} cannot be written", error) or error from error

    @property
    def _name(self) -> str:
        return f"{self._folder}/{self._shards:05d}.tar"

    @property
    def _path(self) -> str:
        assert self._aside is not None
        return os.path.join(self._aside.name, "shard.tar")

    def _finish(self) -> None:
        if self._tar is not None:
            with self._told():
                self._tar.close()
            filesystem.upload(self._path, filesystem.join(self._corpus_uri, self._name))
            self._tar, self._recordings, self._shards = None, 0, self._shards + 1


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _free_folder(corpus_uri: str) -> str:
    """Where shards can be written without touching any that are there: an index elsewhere may name them."""
    names, number = set(filesystem.names_in(corpus_uri)), 1
    while f"shards-{number}" in names:
        number += 1
    return f"shards-{number}" if "shards" in names else "shards"


def _replace_index(rows: list[dict[str, Any]], uri: str) -> None:
    """Writes the index, and removes the shards that were written here for the one before."""
    before: set[str] = set()
    with suppress(CorpusError):  # none, or not to be read
        before = set(Corpus.open(uri).table["uri"].unique().to_pylist())
    write_index(pa.Table.from_pylist(rows, SCHEMA), uri)
    for shard in before - {row["uri"] for row in rows}:
        if _WRITTEN_HERE.fullmatch(shard):
            filesystem.remove(filesystem.join(uri, shard))
    for folder in {shard.partition("/")[0] for shard in before if _WRITTEN_HERE.fullmatch(shard)}:
        if not filesystem.names_in(filesystem.join(uri, folder)):
            filesystem.remove_folder(filesystem.join(uri, folder))


def _audio(recording: Recording) -> bytes:
    """The encoded audio of a recording.

    Raises:
        BadRecording: it is no recording, it has none, or its file cannot be read.
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
    except (OSError, ValueError) as error:  # the latter of a name with a null character
        raise BadRecording("missing file", f"{recording.audio}: {getattr(error, 'strerror', None) or error}") from error


def _checked(recording: Recording, content: bytes, seen: set[str]) -> dict[str, Any]:
    """The metadata of a recording that can be written, as its JSON holds it.

    Raises:
        BadRecording: it cannot be; says all that is wrong.
    """
    faults = []
    name = recording.recording_id
    if not (isinstance(name, str) and name and is_unicode(name)):
        faults.append(f"its id is {name!r:.80}, not some Unicode text")
    elif name in seen:
        faults.append("its id is given twice")
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
