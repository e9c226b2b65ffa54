"""Adoption of existing WebDataset tars as a corpus: only an index of them is written, and no audio is read."""

import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from mulan.data.audio.stated_duration import is_plausible_duration
from mulan.data.corpus import fields as fields_of_texts
from mulan.data.corpus.examination import Examined, examine_shards
from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index_rows import SCHEMA, index_row, index_tables, write_index
from mulan.data.corpus.metadata import check_metadata
from mulan.data.corpus.records import AUDIO_EXTENSIONS, guessed_fields, id_of, metadata_of
from mulan.data.corpus.row_spool import RowSpool
from mulan.data.corpus.scanning import ScannedSample, audio_duration_s, checked_audio
from mulan.data.errors import BadRecording, CorpusError, OnError, Rejected, SkippedRecording
from mulan.storage import filesystem
from mulan.storage.ranged_file import RangedFile


class AdoptedRow(NamedTuple):
    """A recording of a tar as a row of the index."""

    row: dict[str, Any]
    """The row, with the fields of :data:`mulan.data.corpus.index.SCHEMA`."""
    digest: bytes
    """Digest of its headers and texts, which may change without the row."""


Adopted = Examined[AdoptedRow]
"""A recording of a tar, or what is wrong with it or with the whole tar."""


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
    rejected, digest = Rejected(corpus_uri, on_error), hashlib.sha256()
    paths = list(shard_uris)
    wrong = sorted({type(uri).__name__ for uri in paths if not isinstance(uri, str | os.PathLike)})
    if wrong or not corpus_uri:
        faults = [f"a shard must be a path or URI, not a {kind}" for kind in wrong]
        raise CorpusError(corpus_uri, faults or ["the URI of the corpus is empty; name a folder"])

    def rows() -> Iterator[dict[str, Any]]:
        for shard_uri, name, outcome in adopt(paths, fields=fields, keys_restart=keys_restart):
            if isinstance(outcome, BadRecording):
                rejected.add(name, outcome, shard="" if name == shard_uri else shard_uri)
            else:
                digest.update(outcome.digest)
                yield outcome.row

    spool = RowSpool(SCHEMA)
    for table in index_tables(rows()):
        spool.add(table)
    rejected.finish(spool.num_rows)
    write_index(spool, corpus_uri, content_sha256=digest.hexdigest())
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
    stated = None if fields is None else fields.to_json()
    for adopted in examine_shards(shard_uris, partial(_row, fields=stated), keys_restart=keys_restart):
        if not isinstance(adopted.outcome, BadRecording):
            adopted.outcome.row["recording_id"] = adopted.name
        yield adopted


def _row(shard_uri: str, file: RangedFile, scanned: ScannedSample, *, fields: str | None) -> tuple[str, AdoptedRow]:
    key, audio = scanned.sample.key, checked_audio(file, scanned)
    extension = audio.name.rpartition(".")[2].lower()
    layout = guessed_fields(key, scanned.texts) if fields is None else fields
    metadata = metadata_of(key, scanned.texts, layout)
    if layout:
        metadata.setdefault("split", folder_split(shard_uri) or "train")
    stated = metadata.get("duration_s")
    if stated is None or (layout and not is_plausible_duration(stated, audio.size)):
        metadata["duration_s"] = audio_duration_s(file, audio, scanned.audio_start)
    elif extension not in AUDIO_EXTENSIONS:
        audio_duration_s(file, audio, scanned.audio_start)  # check that it is audio
    check_metadata(metadata)
    recording_id = id_of(key, metadata)
    row = index_row(recording_id, shard_uri, scanned.sample.ranges(audio), metadata, fields=layout)
    return recording_id, AdoptedRow(row, scanned.digest)


def folder_split(shard_uri: str) -> str:
    """Returns the split after which the folder of a shard is named, such as ``valid``; empty for other names."""
    with suppress(BadRecording):
        return fields_of_texts.split_name(posixpath.basename(posixpath.dirname(shard_uri)))
    return ""
