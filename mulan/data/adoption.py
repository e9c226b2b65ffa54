"""WebDataset tars that were made elsewhere become a corpus where they are: only an index over them is written."""

import os
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from mulan.data import audio, storage
from mulan.data.errors import BadRecording, CorpusError, OnError, Rejected, Skipped
from mulan.data.index import SCHEMA, index_row, write_index
from mulan.data.metadata import check_metadata
from mulan.data.records import parse_record
from mulan.data.storage_errors import StorageError
from mulan.data.tar_members import Sample, samples_in
from mulan.data.text import is_unicode


def index_shards(
    shard_uris: Iterable[str | os.PathLike[str]],
    corpus_uri: str,
    *,
    keys_restart: bool = False,
    on_error: OnError = "raise",
) -> list[Skipped]:
    """Adopts existing WebDataset tars: writes ``CORPUS_URI/index.parquet`` over them and leaves them where they are.

    A recording is adjacent members with one key: one audio file, and ``KEY.json`` with ``texts`` by source; ``split``
    (default ``train``), ``tags`` (default none) and ``duration_s`` (default: read from the audio) may be there too.
    Further members are passed over. The key, folders included, is the recording's id.

    Args:
        shard_uris: paths and URIs of uncompressed tars.
        corpus_uri: folder of the index.
        keys_restart: whether shards use the same keys anew; ids are then ``SHARD/KEY``, by the shard's name.
        on_error: ``"raise"`` looks at all shards, and writes nothing if anything in them cannot be used; ``"skip"``
            leaves it out.

    Returns:
        The recordings and shards that were skipped; none with ``"raise"``.

    Raises:
        CorpusError: shards that cannot be read and recordings that cannot be used (``"raise"``), or none that can.
    """
    corpus_uri = storage.absolute(corpus_uri)
    if isinstance(shard_uris, str | bytes | os.PathLike):
        raise CorpusError(corpus_uri, ["index_shards takes a list of tars; put a single one in a list"])
    rejected = Rejected(corpus_uri, on_error)
    rows: list[dict[str, Any]] = []
    shard_of: dict[str, str] = {}
    for shard_uri in map(storage.absolute, shard_uris):
        prefix = f"{shard_uri.rpartition('/')[2].removesuffix('.tar')}/" if keys_restart else ""
        try:
            fs, path = storage.filesystem(shard_uri)
            with fs.open(path, "rb") as file:
                for sample in samples_in(file):
                    file.seek(sample.start)
                    content = file.read(sample.end - sample.start)
                    try:
                        row = _row(sample, content, shard_uri, prefix)
                        _check_new(row["recording_id"], shard_uri, shard_of)
                        rows.append(row)
                    except BadRecording as error:
                        rejected.add(sample.key, error, shard=shard_uri)
        except BadRecording as error:
            rejected.add(shard_uri, error)
        except (OSError, ValueError, StorageError) as error:
            rejected.add(shard_uri, BadRecording("unreadable shard", f"cannot be read: {error}"))
    rejected.settle(len(rows))
    write_index(pa.Table.from_pylist(rows, SCHEMA), corpus_uri)
    return rejected.skipped


def _row(sample: Sample, content: bytes, shard_uri: str, prefix: str) -> dict[str, Any]:
    record = parse_record(content)
    metadata = dict(record.metadata)
    if "duration_s" not in metadata:
        metadata["duration_s"] = audio.duration_s(record.audio)
    check_metadata(metadata)
    recording_id = prefix + record.recording_id
    if not is_unicode(recording_id):
        raise BadRecording("name not Unicode", f"its key is {recording_id!r}; rename the members")
    return index_row(recording_id, shard_uri, sample.start, sample.end - sample.start, metadata)


def _check_new(recording_id: str, shard_uri: str, shard_of: dict[str, str]) -> None:
    if recording_id not in shard_of:
        shard_of[recording_id] = shard_uri
        return
    other = shard_of[recording_id]
    if other == shard_uri:
        raise BadRecording("id given twice", "its members are not adjacent, or another recording has its key")
    remedy = "where keys restart in every shard, pass keys_restart=True"
    raise BadRecording("id given twice", f"{recording_id} is in {other} as well; {remedy}")
