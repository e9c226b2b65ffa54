"""Adoption of existing WebDataset tars as a corpus: only an index of them is written."""

import os
import posixpath
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from mulan.data.audio import windows
from mulan.data.corpus.index import SCHEMA, index_row, write_index
from mulan.data.corpus.metadata import check_metadata
from mulan.data.corpus.records import AUDIO_EXTENSIONS, parse_record
from mulan.data.corpus.tar_members import Sample, iter_samples
from mulan.data.errors import BadRecording, CorpusError, OnError, Rejected, SkippedRecording
from mulan.data.text import is_unicode
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError, affects_all_files
from mulan.storage.retries import with_retries


def index_shards(
    shard_uris: Iterable[str | os.PathLike[str]],
    corpus_uri: str,
    *,
    keys_restart: bool = False,
    on_error: OnError = "raise",
) -> list[SkippedRecording]:
    """Adopts existing WebDataset tars in place by writing an index of them, ``CORPUS_URI/index.parquet``.

    A recording consists of adjacent members with the same key: an audio file, and ``KEY.json`` with ``texts`` by source
    and optionally ``split`` (default: ``train``), ``tags`` (default: none) and ``duration_s`` (default: the duration of
    the audio). Other members are ignored. The key, with its folders, is the id of the recording.

    Args:
        shard_uris: Paths and URIs of uncompressed tars.
        corpus_uri: Folder for the index.
        keys_restart: Whether different shards use the same keys; ids are then ``SHARD/KEY``, with the name of the shard
            and those of its parent folders that differ between shards.
        on_error: ``"raise"`` examines all shards, and writes nothing if any recording cannot be used; ``"skip"`` skips
            such recordings.

    Returns:
        The recordings and shards that were skipped; none with ``"raise"``.

    Raises:
        CorpusError: A shard or recording cannot be used (with ``"raise"``), or none of them can.
        StorageError: The storage kept failing, or no shard can be read.
    """
    corpus_uri = filesystem.absolute(corpus_uri)
    if isinstance(shard_uris, str | bytes | os.PathLike):
        raise CorpusError(corpus_uri, ["index_shards takes a list of tars; pass a single tar as a list"])
    rejected = Rejected(corpus_uri, on_error)
    rows: list[dict[str, Any]] = []
    shard_of: dict[str, str] = {}
    paths = list(shard_uris)
    wrong = sorted({type(uri).__name__ for uri in paths if not isinstance(uri, str | os.PathLike)})
    if wrong or not corpus_uri:
        faults = [f"a shard must be a path or URI, not a {kind}" for kind in wrong]
        raise CorpusError(corpus_uri, faults or ["the URI of the corpus is empty; name a folder"])
    uris = [filesystem.absolute(uri) for uri in paths]
    prefixes = _prefixes(uris) if keys_restart else [""] * len(uris)
    for shard_uri, prefix in zip(uris, prefixes, strict=True):
        for name, outcome in _examine(shard_uri, prefix):
            try:
                if isinstance(outcome, BadRecording):
                    raise outcome
                _check_unique(outcome["recording_id"], shard_uri, shard_of, keys_restart)
                rows.append(outcome)
            except BadRecording as error:
                rejected.add(name, error, shard="" if name == shard_uri else shard_uri)
    rejected.finish(len(rows))
    write_index(pa.Table.from_pylist(rows, SCHEMA), corpus_uri)
    return rejected.skipped


_Outcomes = list[tuple[str, dict[str, Any] | BadRecording]]
"""Rows of the index or errors, each with the key of the recording, or the URI of the shard for errors of a shard."""


def _examine(shard_uri: str, prefix: str) -> _Outcomes:
    try:
        return with_retries(f"{shard_uri} cannot be read", _examine_once, shard_uri, prefix)
    except (OSError, StoragePermanentError) as error:
        if error.__cause__ is not None and affects_all_files(error.__cause__):
            raise
        return [(shard_uri, BadRecording("unreadable shard", f"cannot be read: {error}"))]


def _examine_once(shard_uri: str, prefix: str) -> _Outcomes:
    outcomes: _Outcomes = []
    fs, path = filesystem.url_to_fs(shard_uri)
    try:
        with fs.open(path, "rb") as file:
            for sample in iter_samples(file):
                file.seek(sample.start)
                content = file.read(sample.end - sample.start)
                try:
                    outcomes.append((sample.key, _row(sample, content, shard_uri, prefix)))
                except BadRecording as error:
                    outcomes.append((sample.key, error))
    except BadRecording as error:
        outcomes.append((shard_uri, error))
    if not outcomes:
        outcomes.append((shard_uri, BadRecording("no recordings", "no member has a name and an extension")))
    return outcomes


def _row(sample: Sample, content: bytes, shard_uri: str, prefix: str) -> dict[str, Any]:
    record = parse_record(content)
    metadata = dict(record.metadata)
    if not record.audio:
        raise BadRecording("undecodable audio", "the audio file is empty")
    if "duration_s" not in metadata:
        metadata["duration_s"] = windows.duration_s(record.audio)
    elif record.extension not in AUDIO_EXTENSIONS:
        windows.duration_s(record.audio)  # check that it is audio
    check_metadata(metadata)
    recording_id = prefix + record.recording_id
    if not is_unicode(recording_id):
        raise BadRecording("name not Unicode", f"its key is {recording_id!r}; rename the members")
    return index_row(recording_id, shard_uri, sample.start, sample.end - sample.start, metadata)


def _check_unique(recording_id: str, shard_uri: str, shard_of: dict[str, str], keys_restart: bool) -> None:
    other = shard_of.get(recording_id)
    if other is None:
        shard_of[recording_id] = shard_uri
    elif other == shard_uri:
        cause = "its members are not adjacent, another recording has its key, or the shard is listed twice"
        raise BadRecording("duplicate id", cause)
    else:
        remedy = "" if keys_restart else "; if keys restart in every shard, pass keys_restart=True"
        raise BadRecording("duplicate id", f"{recording_id} is also in {other}{remedy}")


def _prefixes(shard_uris: Sequence[str]) -> list[str]:
    """Returns a prefix for the keys of each shard that makes them unique."""
    paths = [uri.removesuffix(".tar").split("/") for uri in shard_uris]
    shared = len(posixpath.commonprefix([path[:-1] for path in paths]))
    return ["/".join([*path[shared:], ""]) for path in paths]
