"""The index of a corpus: a Parquet file with one row per recording, which locates its bytes in a shard."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mulan.config.sections import SOURCES, STORED_SOURCES, Source
from mulan.data.corpus.metadata import SPLITS as SPLITS
from mulan.data.errors import CorpusError
from mulan.storage import filesystem

INDEX_NAME = "index.parquet"
_MAX_BYTES = 2**62
"""Maximum offset and length, so that their sum does not overflow."""

SCHEMA = pa.schema(
    [
        pa.field("recording_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),  # URI of the shard, relative to the index's folder or absolute
        pa.field("offset", pa.int64(), nullable=False),  # in bytes from the start of the shard
        pa.field("length", pa.int64(), nullable=False),  # in bytes, for all members of the recording
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("sources", pa.list_(pa.string()), nullable=False),  # stored text sources with at least one text
        pa.field("tags", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Corpus:
    """A folder of shards and its index."""

    uri: str
    table: pa.Table
    index_sha256: str
    """SHA-256 of ``index.parquet`` in hexadecimal, which is the same for copies of the corpus. It covers absolute URIs
    of shards, which do not depend on the location of the index: rewriting them changes the digest."""

    @classmethod
    def open(cls, uri: str) -> "Corpus":
        """Reads and checks ``URI/index.parquet``.

        Raises:
            CorpusError: There is no index, or it lacks columns or has invalid rows; lists all faults.
        """
        uri = filesystem.absolute(uri)  # it is passed to processes with other working folders
        try:
            content = filesystem.read_bytes(filesystem.join(uri, INDEX_NAME))
        except FileNotFoundError as error:
            raise CorpusError(uri, [f"there is no {INDEX_NAME}; is this the folder of a prepared corpus?"]) from error
        except (OSError, ImportError, ValueError) as error:
            raise CorpusError(uri, [f"{INDEX_NAME} cannot be read: {error}"]) from error
        table = _read_table(uri, content)
        faults = _invalid_rows(table)
        if faults:
            raise CorpusError(uri, faults)
        return cls(uri, table.combine_chunks(), hashlib.sha256(content).hexdigest())

    def rows(self, split: str) -> np.ndarray:
        """Returns the rows of a split in the order of the index, int64 [n]."""
        return np.flatnonzero(pc.equal(self.table["split"], split).to_numpy())

    def rows_by_source(self, split: str) -> dict[Source, np.ndarray]:
        """Returns, for each text source, the rows of the split's recordings with texts of that source, int64 [n].

        The recordings of the source ``tags`` are those with tags.
        """
        in_split = pc.equal(self.table["split"], split).to_numpy()
        return {source: np.flatnonzero(in_split & self._has_source[source]) for source in SOURCES}

    @cached_property
    def _has_source(self) -> dict[Source, np.ndarray]:
        lists = self.table["sources"].combine_chunks()
        parents, names = pc.list_parent_indices(lists).to_numpy(), lists.flatten()
        masks: dict[Source, np.ndarray] = {}
        for source in STORED_SOURCES:
            masks[source] = np.zeros(self.table.num_rows, dtype=bool)
            masks[source][parents[pc.equal(names, source).to_numpy(zero_copy_only=False)]] = True
        masks["tags"] = pc.greater(pc.list_value_length(self.table["tags"]), 0).to_numpy()
        return masks

    def recording_ids(self, rows: Sequence[int]) -> list[str]:
        """Returns the recording ids of rows of the index."""
        return [str(name) for name in self.table["recording_id"].take(pa.array(rows, pa.int64())).to_pylist()]

    def byte_ranges(self, rows: Sequence[int]) -> tuple[list[str], list[int], list[int]]:
        """Returns the absolute shard URIs, the offsets and the lengths, both in bytes, of rows of the index."""
        part = self.table.select(["uri", "offset", "length"]).take(pa.array(rows, pa.int64())).to_pydict()
        return [filesystem.resolve(self.uri, uri) for uri in part["uri"]], part["offset"], part["length"]


def index_row(recording_id: str, uri: str, offset: int, length: int, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a recording, with the fields of :data:`SCHEMA`.

    Args:
        recording_id: Id, unique in the corpus.
        uri: URI of the shard.
        offset: Offset of the recording in the shard in bytes.
        length: Length of the recording in bytes.
        metadata: Metadata that :func:`mulan.data.corpus.metadata.check_metadata` has accepted.
    """
    return {
        "recording_id": recording_id,
        "uri": uri,
        "offset": offset,
        "length": length,
        "duration_s": float(metadata["duration_s"]),
        "split": metadata.get("split", "train"),
        "sources": [source for source in STORED_SOURCES if metadata["texts"].get(source)],
        "tags": list(metadata.get("tags", [])),
    }


def write_index(table: pa.Table, corpus_uri: str) -> None:
    """Writes ``CORPUS_URI/index.parquet`` atomically, after all shards: a corpus with an index is complete."""
    buffer = io.BytesIO()
    pq.write_table(table.cast(SCHEMA), buffer, compression="zstd")
    filesystem.write_atomically(filesystem.join(corpus_uri, INDEX_NAME), buffer.getvalue())


def _read_table(uri: str, content: bytes) -> pa.Table:
    """Returns the columns of an index, cast to the schema and fully validated."""
    try:
        table = pq.read_table(io.BytesIO(content))
        missing = [name for name in SCHEMA.names if name not in table.column_names]
        if not missing:
            table = table.select(SCHEMA.names)
            table.validate(full=True)
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise CorpusError(uri, [f"{INDEX_NAME} is not a Parquet file, or is damaged: {error}"]) from error
    if missing:
        raise CorpusError(uri, [f"{INDEX_NAME} lacks columns: {', '.join(missing)}"])
    try:
        cast = table.cast(SCHEMA)
        cast.validate(full=True)
    except Exception as error:
        raise CorpusError(uri, [f"{INDEX_NAME} has a column of the wrong type: {error}"]) from error
    with_nulls = [name for name in SCHEMA.names if cast[name].null_count or _has_null_items(cast[name])]
    if with_nulls:
        raise CorpusError(uri, [f"{INDEX_NAME} has nulls in {', '.join(with_nulls)}"])
    return cast


def _has_null_items(column: pa.ChunkedArray) -> bool:
    return pa.types.is_list(column.type) and any(chunk.flatten().null_count for chunk in column.chunks)


def _invalid_rows(table: pa.Table) -> list[str]:
    faults = []

    def check(invalid: pa.ChunkedArray, fault: str) -> None:
        rows = np.flatnonzero(invalid.to_numpy())
        if len(rows):
            names = table["recording_id"].take(pa.array(rows[:3])).to_pylist()
            faults.append(f"{len(rows)} recordings {fault} ({', '.join(names)}{', ...' if len(rows) > 3 else ''})")

    check(pc.less(table["offset"], 0), "have a negative offset")
    check(pc.greater(table["offset"], _MAX_BYTES), "have an offset that is too large")
    check(pc.less_equal(table["length"], 0), "have a length that is not positive")
    check(pc.greater(table["length"], _MAX_BYTES), "have a length that is too large")
    check(pc.invert(pc.greater(table["duration_s"], 0)), "have a duration that is not positive")
    check(pc.is_inf(table["duration_s"]), "have an infinite duration")
    check(pc.invert(pc.is_in(table["split"], pa.array(SPLITS))), f"have a split other than {', '.join(SPLITS)}")
    counts = pc.value_counts(table["recording_id"])
    duplicates = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if duplicates:
        faults.append(f"{len(duplicates)} recording ids occur more than once ({', '.join(duplicates[:3])})")
    if table.num_rows == 0:
        faults.append("the index has no rows")
    return faults
