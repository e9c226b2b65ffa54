"""WebDataset tars that were made elsewhere become a corpus where they are: only an index over them is written."""

import os
import posixpath
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

from mulan.data.audio import windows
from mulan.data.corpus.index import SCHEMA, index_row, write_index
from mulan.data.corpus.metadata import check_metadata
from mulan.data.corpus.records import AUDIO_EXTENSIONS, parse_record
from mulan.data.corpus.tar_members import Sample, samples_in
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
    """Adopts existing WebDataset tars: writes ``CORPUS_URI/index.parquet`` over them and leaves them where they are.

    A recording is adjacent members with one key: one audio file, and ``KEY.json`` with ``texts`` by source; ``split``
    (default ``train``), ``tags`` (default none) and ``duration_s`` (default: read from the audio) may be there too.
    Further members are passed over. The key, folders included, is the recording's id.

    Args:
        shard_uris: paths and URIs of uncompressed tars.
        corpus_uri: folder of the index.
        keys_restart: whether shards use the same keys anew; ids are then ``SHARD/KEY``, by the shard's name, with those
            of its folders that not all shards share.
        on_error: ``"raise"`` looks at all shards, and writes nothing if anything in them cannot be used; ``"skip"``
            leaves it out.

    Returns:
        The recordings and shards that were skipped; none with ``"raise"``.

    Raises:
        CorpusError: shards that cannot be read and recordings that cannot be used (``"raise"``), or none that can.
        StorageError: storage fails for longer than our patience lasts, or would refuse any shard.
    """
    corpus_uri = filesystem.absolute(corpus_uri)
    if isinstance(shard_uris, str | bytes | os.PathLike):
        raise CorpusError(corpus_uri, ["index_shards takes a list of tars; put a single one in a list"])
    rejected = Rejected(corpus_uri, on_error)
    rows: list[dict[str, Any]] = []
    shard_of: dict[str, str] = {}
    given = list(shard_uris)
    wrong = sorted({type(uri).__name__ for uri in given if not isinstance(uri, str | os.PathLike)})
    if wrong or not corpus_uri:
        faults = [f"a shard is named by its path or URI, not by a {kind}" for kind in wrong]
        raise CorpusError(corpus_uri, faults or ["the corpus is named by nothing; name a folder"])
    uris = [filesystem.absolute(uri) for uri in given]
    prefixes = _prefixes(uris) if keys_restart else [""] * len(uris)
    for shard_uri, prefix in zip(uris, prefixes, strict=True):
        for name, outcome in _examined(shard_uri, prefix):
            try:
                if isinstance(outcome, BadRecording):
                    raise outcome
                _check_new(outcome["recording_id"], shard_uri, shard_of, keys_restart)
                rows.append(outcome)
            except BadRecording as error:
                rejected.add(name, error, shard="" if name == shard_uri else shard_uri)
    rejected.settle(len(rows))
    write_index(pa.Table.from_pylist(rows, SCHEMA), corpus_uri)
    return rejected.skipped


_Outcomes = list[tuple[str, dict[str, Any] | BadRecording]]
"""By key, or by the shard's URI where it is of the shard: a row of the index, or what is wrong."""


def _examined(shard_uri: str, prefix: str) -> _Outcomes:
    try:
        return with_retries(f"{shard_uri} cannot be read", _examined_once, shard_uri, prefix)
    except (OSError, StoragePermanentError) as error:
        if error.__cause__ is not None and affects_all_files(error.__cause__):
            raise
        return [(shard_uri, BadRecording("unreadable shard", f"cannot be read: {error}"))]


def _examined_once(shard_uri: str, prefix: str) -> _Outcomes:
    outcomes: _Outcomes = []
    fs, path = filesystem.url_to_fs(shard_uri)
    try:
        with fs.open(path, "rb") as file:
            for sample in samples_in(file):
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
        windows.duration_s(record.audio)  # it may be anything
    check_metadata(metadata)
    recording_id = prefix + record.recording_id
    if not is_unicode(recording_id):
        raise BadRecording("name not Unicode", f"its key is {recording_id!r}; rename the members")
    return index_row(recording_id, shard_uri, sample.start, sample.end - sample.start, metadata)


def _check_new(recording_id: str, shard_uri: str, shard_of: dict[str, str], keys_restart: bool) -> None:
    other = shard_of.get(recording_id)
    if other is None:
        shard_of[recording_id] = shard_uri
    elif other == shard_uri:
        said = "its members are not adjacent, another recording has its key, or the shard is given twice"
        raise BadRecording("id given twice", said)
    else:
        remedy = "" if keys_restart else "; where keys restart in every shard, pass keys_restart=True"
        raise BadRecording("id given twice", f"{recording_id} is in {other} as well{remedy}")


def _prefixes(shard_uris: Sequence[str]) -> list[str]:
    """What tells the shards' keys apart."""
    parts = [uri.removesuffix(".tar").split("/") for uri in shard_uris]
    shared = len(posixpath.commonprefix([of_shard[:-1] for of_shard in parts]))
    return ["/".join([*of_shard[shared:], ""]) for of_shard in parts]
