"""The index of a corpus: a Parquet file with one row per recording, which locates its bytes in a shard."""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mulan.config.sections import SOURCES, STORED_SOURCES, Source
from mulan.data.corpus.fields import Fields
from mulan.data.corpus.metadata import SPLITS as SPLITS
from mulan.data.errors import CorpusError
from mulan.storage import filesystem

INDEX_NAME = "index.parquet"
_ROWS_AT_ONCE = 10_000
"""Number of rows that are held as dictionaries."""
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
        # how texts are read: the JSON of mulan.data.corpus.fields.Fields, or empty for mulan's own layout
        pa.field("fields", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        # offset, length, offset, length, ... of members that are not adjacent to the others
        pa.field("further_ranges", pa.list_(pa.int64()), nullable=False),
    ]
)

_DEFAULTS: Mapping[str, Any] = MappingProxyType({"fields": "", "further_ranges": []})
"""Values of columns that an index may lack: it was written before they existed, or has no others."""


class Location(NamedTuple):
    """Where the tar members of a recording are, and how its texts are read."""

    uri: str
    """Absolute path or URI of the shard."""
    offset: int
    """Offset in bytes of the first members."""
    length: int
    """Length in bytes of these members, including their headers."""
    further_ranges: tuple[int, ...] = ()
    """Offset, length, offset, length, ... of members that are not adjacent to the others."""
    fields: str = ""
    """JSON of the :class:`mulan.data.corpus.fields.Fields` that say which fields are texts and tags; empty for JSON as
    mulan writes it."""

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Offset and length of all ranges. The members of a recording are their concatenation."""
        further = zip(self.further_ranges[::2], self.further_ranges[1::2], strict=True)
        return [(self.offset, self.length), *further]

    def offset_in_shard(self, start: int) -> int:
        """Returns the offset in the shard of byte ``start`` of the concatenated ranges.

        Example:
            >>> Location("a.tar", 512, 1024, (4096, 1024)).offset_in_shard(1536)
            4608
        """
        for offset, length in self.ranges:
            if start < length:
                return offset + start
            start -= length
        raise ValueError(f"the ranges have {start} bytes less")


@dataclass(frozen=True)
class Corpus:
    """A folder of shards and its index."""

    uri: str
    table: pa.Table
    index_sha256: str
    """SHA-256 of ``index.parquet`` in hexadecimal, which is the same for copies of the corpus. It covers the content of
    shards that mulan has written, and the headers and texts of adopted ones. It also covers absolute URIs of shards,
    which do not depend on the location of the index: rewriting them changes the digest."""
    at_most: Mapping[str, int] = field(default_factory=dict)
    """Number of recordings to which :meth:`with_at_most` has reduced splits."""

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

    def with_at_most(self, count: int, split: str) -> "Corpus":
        """Returns the corpus with at most this number of recordings of a split.

        Those with the smallest digests of their ids are taken, as if they were drawn at random, whatever the order of
        the index; of a larger number all that a smaller one takes.
        """
        rows = self.rows(split)
        if len(rows) <= count:
            return self
        digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in self.recording_ids(rows.tolist())]
        order = np.argsort(np.frombuffer(b"".join(digests), ">u8"), kind="stable")
        others = np.flatnonzero(pc.not_equal(self.table["split"], split).to_numpy())
        kept = np.sort(np.concatenate([others, rows[order[:count]]]))
        return Corpus(self.uri, self.table.take(pa.array(kept)), self.index_sha256, {**self.at_most, split: count})

    def recording_ids(self, rows: Sequence[int]) -> list[str]:
        """Returns the recording ids of rows of the index."""
        return [str(name) for name in self.table["recording_id"].take(pa.array(rows, pa.int64())).to_pylist()]

    def locations(self, rows: Sequence[int]) -> list[Location]:
        """Returns where the tar members of rows of the index are. :func:`mulan.data.corpus.records.read_fragments`
        reads them."""
        columns = self.table.select(list(Location._fields)).take(pa.array(rows, pa.int64())).to_pydict()
        return [
            Location(filesystem.resolve(self.uri, uri), offset, length, tuple(further), fields)
            for uri, offset, length, further, fields in zip(*columns.values(), strict=True)
        ]


def index_row(
    recording_id: str, uri: str, ranges: Sequence[tuple[int, int]], metadata: Mapping[str, Any], *, fields: str = ""
) -> dict[str, Any]:
    """Returns the row of a recording, with the fields of :data:`SCHEMA`.

    Args:
        recording_id: Id, unique in the corpus.
        uri: URI of the shard.
        ranges: Offset and length in bytes of the ranges of the shard that contain the recording, at least one.
        metadata: Metadata that :func:`mulan.data.corpus.metadata.check_metadata` has accepted.
        fields: How its texts are read: :attr:`Location.fields`.
    """
    (offset, length), *further = ranges
    return {
        "recording_id": recording_id,
        "uri": uri,
        "offset": offset,
        "length": length,
        "duration_s": float(metadata["duration_s"]),
        "split": metadata.get("split", "train"),
        "sources": [source for source in STORED_SOURCES if metadata["texts"].get(source)],
        "tags": list(metadata.get("tags", [])),
        "fields": fields,
        "further_ranges": [number for each in further for number in each],
    }


def index_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Returns rows of :func:`index_row` as a table, :data:`SCHEMA`, which needs less memory than they do."""
    tables, rows = [SCHEMA.empty_table()], iter(rows)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        tables.append(pa.Table.from_pylist(some, SCHEMA))
    return pa.concat_tables(tables)


def write_index(table: pa.Table, corpus_uri: str, *, content_sha256: str = "") -> None:
    """Writes ``CORPUS_URI/index.parquet`` atomically, after all shards: a corpus with an index is complete.

    Columns of which all values are the default are left out, so that an index keeps its bytes, and thereby its digest,
    when the schema gets another one.

    Args:
        table: The rows.
        corpus_uri: Folder of the corpus.
        content_sha256: Digest of the shards, for shards whose content could change without any of their names and
            sizes. It is written to the metadata of the file, so that the digest of the index changes with the content.
    """
    buffer = io.BytesIO()
    schema = SCHEMA.with_metadata({"content_sha256": content_sha256}) if content_sha256 else SCHEMA
    table = _with_defaults(table).cast(schema)
    table = table.drop_columns([name for name in _DEFAULTS if not pc.any(pc.greater(_sizes(table[name]), 0)).as_py()])
    pq.write_table(table, buffer, compression="zstd")
    filesystem.write_atomically(filesystem.join(corpus_uri, INDEX_NAME), buffer.getvalue())


def _with_defaults(table: pa.Table) -> pa.Table:
    """Returns a table with the columns that it lacks and whose values are then the default."""
    for name, value in _DEFAULTS.items():
        if name not in table.column_names:
            values = pa.array([value], SCHEMA.field(name).type).take(pa.array(np.zeros(table.num_rows, np.int64)))
            table = table.append_column(SCHEMA.field(name), values)
    return table


def _sizes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the length of each list or text."""
    return pc.list_value_length(column) if pa.types.is_list(column.type) else pc.binary_length(column.cast(pa.string()))


def _read_table(uri: str, content: bytes) -> pa.Table:
    """Returns the columns of an index, cast to the schema and fully validated."""
    try:
        table = pq.read_table(io.BytesIO(content))
        table = _with_defaults(table)
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
    further = table["further_ranges"].combine_chunks()
    numbers = further.flatten().to_numpy()
    check(pc.not_equal(pc.bit_wise_and(pc.list_value_length(table["further_ranges"]), 1), 0), "have half a range")
    if len(numbers) and (numbers.min() < 0 or numbers.max() > _MAX_BYTES or not numbers[1::2].all()):
        faults.append("further_ranges has negative, too large or empty ranges")
    faults += [f"fields has {fault}" for fault in _invalid_fields(table["fields"])]
    counts = pc.value_counts(table["recording_id"])
    duplicates = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if duplicates:
        faults.append(f"{len(duplicates)} recording ids occur more than once ({', '.join(duplicates[:3])})")
    if table.num_rows == 0:
        faults.append("the index has no rows")
    return faults


def _invalid_fields(column: pa.ChunkedArray) -> list[str]:
    faults = []
    for text in column.unique().to_pylist():
        try:
            if text:
                Fields.from_json(text)
        except (ValueError, RecursionError) as error:
            faults.append(f"{text!r:.80}: {error}")
    return faults[:3]
