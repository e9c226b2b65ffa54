"""The rows of an index, and the writing of its file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulan.config.sections import STORED_SOURCES
from mulan.storage import filesystem
from mulan.storage.parquet import write_parquet

INDEX_NAME = "index.parquet"
_ROWS_AT_ONCE = 10_000
"""Number of rows that are held as dictionaries."""

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

DEFAULTS: Mapping[str, Any] = MappingProxyType({"fields": "", "further_ranges": []})
"""Values of columns that an index may lack: it was written before they existed, or has no others."""


def index_row(
    recording_id: str, uri: str, ranges: Sequence[tuple[int, int]], metadata: Mapping[str, Any], *, fields: str = ""
) -> dict[str, Any]:
    """Returns the row of a recording, with the fields of :data:`SCHEMA`.

    Args:
        recording_id: Id, unique in the corpus.
        uri: URI of the shard.
        ranges: Offset and length in bytes of the ranges of the shard that contain the recording, at least one.
        metadata: Metadata that :func:`mulan.data.corpus.metadata.check_metadata` has accepted.
        fields: How its texts are read: :attr:`mulan.data.corpus.index.Location.fields`.
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


def index_tables(rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.Table]:
    """Yields rows of :func:`index_row` as tables, :data:`SCHEMA`, which need less memory than they do."""
    rows = iter(rows)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        yield pa.Table.from_pylist(some, SCHEMA)


def write_index(rows: pa.Table | Iterable[pa.Table], corpus_uri: str, *, content_sha256: str = "") -> None:
    """Writes ``CORPUS_URI/index.parquet`` atomically, after all shards: a corpus with an index is complete.

    Columns of which all values are the default are left out, so that an index keeps its bytes, and thereby its digest,
    when the schema gets another one. The bytes do not depend on the parts in which the rows are passed.

    Args:
        rows: The rows, in one table or in parts, such as a :class:`mulan.data.corpus.row_spool.RowSpool`, that are
            iterated over twice; about a million of them are in memory at a time.
        corpus_uri: Folder of the corpus.
        content_sha256: Digest of the shards, for shards whose content could change without any of their names and
            sizes. It is written to the metadata of the file, so that the digest of the index changes with the content.

    Raises:
        StorageError, StoragePermanentError: The index could not be written; an old one is kept.
    """
    parts = [rows] if isinstance(rows, pa.Table) else rows
    needed: set[str] = set()
    for part in parts:
        needed |= {name for name in DEFAULTS if name in part.column_names and _has_values(part[name])}
    schema = pa.schema([field for field in SCHEMA if field.name in needed or field.name not in DEFAULTS])
    if content_sha256:
        schema = schema.with_metadata({"content_sha256": content_sha256})
    selected = (_with_defaults(part).select(schema.names) for part in parts)
    write_parquet(selected, schema, filesystem.join(corpus_uri, INDEX_NAME))


def _with_defaults(table: pa.Table) -> pa.Table:
    """Returns a table with the columns of :data:`SCHEMA` that it lacks and whose values are then the default."""
    for name, value in DEFAULTS.items():
        if name not in table.column_names:
            values = pa.array([value], SCHEMA.field(name).type).take(pa.array(np.zeros(table.num_rows, np.int64)))
            table = table.append_column(SCHEMA.field(name), values)
    return table


def _has_values(column: pa.ChunkedArray) -> bool:
    """Returns whether a list or text is not empty."""
    is_list = pa.types.is_list(column.type)
    sizes = pc.list_value_length(column) if is_list else pc.binary_length(column.cast(pa.string()))
    return bool(pc.any(pc.greater(sizes, 0)).as_py())
