"""Adoption of existing WebDataset tars as a corpus: only an index of them is written, and no audio is read."""

import os
import posixpath
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import pyarrow as pa

from mulan.data.audio.stated_duration import is_plausible_duration
from mulan.data.corpus import fields as fields_of_texts
from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index import SCHEMA, index_row, write_index
from mulan.data.corpus.metadata import check_metadata
from mulan.data.corpus.records import AUDIO_EXTENSIONS, guessed_fields, id_of, metadata_of
from mulan.data.corpus.scanning import ScannedSample, audio_duration_s, checked_audio, scan
from mulan.data.errors import BadRecording, CorpusError, OnError, Rejected, SkippedRecording
from mulan.data.text import is_unicode
from mulan.storage import filesystem
from mulan.storage.errors import StoragePermanentError, affects_all_files
from mulan.storage.ranged_file import RangedFile

_CONCURRENT_SHARDS = 16
"""Number of shards of a remote storage that are scanned at once, since each waits for its requests."""
_ROWS_AT_ONCE = 10_000
"""Number of rows of the index that are held as dictionaries, which need more memory than a table."""


class Adopted(NamedTuple):
    """A recording of a tar, or what is wrong with it or with the whole tar."""

    shard_uri: str
    """Absolute path or URI of the tar."""
    name: str
    """Key of the recording; for an error of a whole tar, its URI."""
    outcome: dict[str, Any] | BadRecording
    """Row of the index, or why there is none."""


def index_shards(
    shard_uris: Iterable[str | os.PathLike[str]],
    corpus_uri: str,
    *,
    fields: Fields | None = None,
    keys_restart: bool = False,
    on_error: OnError = "raise",
) -> list[SkippedRecording]:
    """Adopts existing WebDataset tars in place by writing an index of them, ``CORPUS_URI/index.parquet``.

    A recording consists of the files of a tar with the same key, the name up to the first dot: an audio file, and texts
    and tags in ``KEY.json``, ``KEY.txt`` (a text) or ``KEY.cls`` (the number or name of a class). They need not be
    adjacent. If several audio files have the same key, the name up to the last dot is the key. Other files are ignored.
    The key, with its folders, is the id of the recording.

    A JSON with ``texts`` is in mulan's own layout: ``texts`` by source, and optionally ``split`` (default: ``train``),
    ``tags`` (default: none) and ``duration_s``. In any other, and in ``txt`` and ``cls``, ``fields`` says which fields
    are texts and tags; the texts remain where they are, and are read so whenever the corpus is. The split is that of
    the field ``split`` or, without one, of the name of the tar's folder if that is a split such as ``valid``.

    Nothing else is read but, where no ``duration`` is stated, the header of the audio, which is not decoded: the
    durations of the index are as stated. Training verifies lengths itself, and skips what it cannot decode.

    Args:
        shard_uris: Paths and URIs of uncompressed tars.
        corpus_uri: Folder for the index.
        fields: Names of the fields with texts and tags; None to recognize the usual names and mulan's own layout.
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
    paths = list(shard_uris)
    wrong = sorted({type(uri).__name__ for uri in paths if not isinstance(uri, str | os.PathLike)})
    if wrong or not corpus_uri:
        faults = [f"a shard must be a path or URI, not a {kind}" for kind in wrong]
        raise CorpusError(corpus_uri, faults or ["the URI of the corpus is empty; name a folder"])
    tables: list[pa.Table] = []
    rows: list[dict[str, Any]] = []
    for shard_uri, name, outcome in adopt(paths, fields=fields, keys_restart=keys_restart):
        if isinstance(outcome, BadRecording):
            rejected.add(name, outcome, shard="" if name == shard_uri else shard_uri)
            continue
        rows.append(outcome)
        if len(rows) == _ROWS_AT_ONCE:
            tables.append(pa.Table.from_pylist(rows, SCHEMA))
            rows.clear()
    tables.append(pa.Table.from_pylist(rows, SCHEMA))
    table = pa.concat_tables(tables)
    rejected.finish(table.num_rows)
    write_index(table, corpus_uri)
    return rejected.skipped


def adopt(
    shard_uris: Sequence[str | os.PathLike[str]], *, fields: Fields | None = None, keys_restart: bool = False
) -> Iterator[Adopted]:
    """Yields the recordings of existing tars as rows of an index, and what cannot be used, in the order of the shards.

    Args:
        shard_uris: Paths and URIs of uncompressed tars.
        fields: As in :func:`index_shards`.
        keys_restart: As in :func:`index_shards`.

    Raises:
        StorageError: The storage kept failing, or no shard can be read.
    """
    uris = [filesystem.absolute(uri) for uri in shard_uris]
    prefixes = _prefixes(uris) if keys_restart else [""] * len(uris)
    stated = None if fields is None else fields.to_json()
    calls = [(_examine, uri, prefix, stated) for uri, prefix in zip(uris, prefixes, strict=True)]
    at_once = 1 if all(map(filesystem.is_local, uris)) else _CONCURRENT_SHARDS
    shard_of: dict[str, str] = {}
    for outcomes in _in_order(calls, at_once):
        for adopted in outcomes:
            if not isinstance(adopted.outcome, BadRecording):
                error = _repetition(adopted.outcome["recording_id"], adopted.shard_uri, shard_of, keys_restart)
                yield adopted._replace(outcome=error) if error else adopted
            else:
                yield adopted


def _in_order(
    calls: Sequence[tuple[Callable[..., list[Adopted]], str, str, str | None]], at_once: int
) -> Iterator[list[Adopted]]:
    """Yields the results of calls in order, and begins only few of them before their result is needed."""
    pending: deque[Future[list[Adopted]]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for function, *arguments in calls:
                pending.append(pool.submit(function, *arguments))
                if len(pending) > at_once:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _examine(shard_uri: str, prefix: str, fields: str | None) -> list[Adopted]:
    outcomes: list[Adopted] = []
    try:
        with RangedFile(shard_uri) as file:
            folder_split = _folder_split(shard_uri)
            for scanned in scan(file):
                key = scanned.sample.key
                try:
                    row = _row(file, scanned, shard_uri, prefix=prefix, fields=fields, folder_split=folder_split)
                    outcomes.append(Adopted(shard_uri, key, row))
                except BadRecording as error:
                    outcomes.append(Adopted(shard_uri, key, error))
    except BadRecording as error:
        outcomes.append(Adopted(shard_uri, shard_uri, error))
    except (OSError, StoragePermanentError) as error:
        if error.__cause__ is not None and affects_all_files(error.__cause__):
            raise
        unreadable = BadRecording("unreadable shard", f"cannot be read: {error}")
        return [Adopted(shard_uri, shard_uri, unreadable)]
    if not outcomes:
        empty = BadRecording("no recordings", "no member has a name and an extension")
        outcomes.append(Adopted(shard_uri, shard_uri, empty))
    return outcomes


def _row(
    file: RangedFile, scanned: ScannedSample, shard_uri: str, *, prefix: str, fields: str | None, folder_split: str
) -> dict[str, Any]:
    key, audio = scanned.sample.key, checked_audio(file, scanned)
    extension = audio.name.rpartition(".")[2].lower()
    layout = guessed_fields(key, scanned.texts) if fields is None else fields
    metadata = metadata_of(key, scanned.texts, layout)
    if layout:
        metadata.setdefault("split", folder_split or "train")
    stated = metadata.get("duration_s")
    if stated is None or (layout and not is_plausible_duration(stated, audio.size)):
        metadata["duration_s"] = audio_duration_s(file, audio, scanned.audio_start)
    elif extension not in AUDIO_EXTENSIONS:
        audio_duration_s(file, audio, scanned.audio_start)  # check that it is audio
    check_metadata(metadata)
    recording_id = prefix + id_of(key, metadata)
    if not is_unicode(recording_id):
        raise BadRecording("name not Unicode", f"its key is {recording_id!r}; rename the members")
    return index_row(recording_id, shard_uri, scanned.sample.ranges(audio), metadata, fields=layout)


def _folder_split(shard_uri: str) -> str:
    """Returns the split after which the folder of a shard is named; empty if it has another name."""
    with suppress(BadRecording):
        return fields_of_texts.split_name(posixpath.basename(posixpath.dirname(shard_uri)))
    return ""


def _repetition(recording_id: str, shard_uri: str, shard_of: dict[str, str], keys_restart: bool) -> BadRecording | None:
    """Returns what is wrong with an id that occurs again, and notes one that does not."""
    other = shard_of.get(recording_id)
    if other is None:
        shard_of[recording_id] = shard_uri
        return None
    if other == shard_uri:
        cause = "its members have the same names as others, another recording has its id, or the shard is listed twice"
        return BadRecording("duplicate id", cause)
    remedy = "" if keys_restart else "; if keys restart in every shard, pass keys_restart=True"
    return BadRecording("duplicate id", f"{recording_id} is also in {other}{remedy}")


def _prefixes(shard_uris: Sequence[str]) -> list[str]:
    """Returns a prefix for the keys of each shard that makes them unique."""
    paths = [uri.removesuffix(".tar").split("/") for uri in shard_uris]
    shared = len(posixpath.commonprefix([path[:-1] for path in paths]))
    return ["/".join([*path[shared:], ""]) for path in paths]
