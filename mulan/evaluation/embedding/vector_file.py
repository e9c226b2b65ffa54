"""Parquet files of vectors, which any other program can read, and those that other programs have written.

A file that this package writes has one row for each recording of one split, in ascending order of the ids:

================  ======================================  ==============================================================
column            type                                    content
================  ======================================  ==============================================================
``recording_id``  string                                  id of the recording in its corpus
``split``         string                                  ``train``, ``validation`` or ``test``
``windows``       list of float32 lists of size d         vectors of the recording's windows, evenly spaced from its
                                                          start to its end; empty if it was skipped
``labels``        string                                  JSON with ``tags``, ``texts`` by source, ``artist``,
                                                          ``title``, ``targets``; empty if it was skipped
``reason``        string                                  why the recording was skipped; empty otherwise
================  ======================================  ==============================================================

The key ``mulan`` of the schema's metadata is a JSON object that says what the vectors were computed from. A file of
another program needs ``recording_id`` and one of ``windows``, a list of vectors, and ``embedding``, a single vector.
"""

import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mulan.config.errors import MulanError
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.labels import labels_from_json, labels_to_json
from mulan.evaluation.recordings import EmbeddedRecordings
from mulan.storage import filesystem

_METADATA = b"mulan"
_ROWS_PER_GROUP = 1024
"""Number of rows that are converted at once."""
_ALTERNATIVES = ("windows", "embedding")


class UnusableVectorFile(MulanError, ValueError):
    """A file of vectors is missing or damaged, or has other columns."""


@dataclass(frozen=True, eq=False)
class VectorFile:
    """The content of a file of vectors."""

    recording_ids: tuple[str, ...]
    """Ids in the order of the file."""
    windows: np.ndarray
    """Vectors of all recordings, one recording after another, float32 [windows, d]."""
    starts: np.ndarray
    """Row in ``windows`` of the first vector of each recording, and their total number, int64 [recordings + 1]."""
    computed_from: Mapping[str, Any]
    """What the vectors were computed from; empty for files of other programs."""
    table: pa.Table
    """All other columns."""


def read_vector_file(uri: str) -> VectorFile:
    """Reads vectors that this or another program has written.

    Args:
        uri: A Parquet file with the columns ``recording_id`` and ``windows`` or ``embedding``, as this module's
            documentation says. Vectors may be of any floating-point type.

    Raises:
        UnusableVectorFile: The file is missing or damaged, or lacks a column or has one of another type, ids are not
            unique, or vectors are not finite or of different sizes.
        StorageError, StoragePermanentError: Its storage failed.
    """
    try:
        content = filesystem.read_bytes(uri)
    except OSError as error:
        raise UnusableVectorFile(f"{uri} cannot be read: {error.strerror or error}") from error
    try:
        table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
        table.validate(full=True)
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise UnusableVectorFile(f"{uri} is not a Parquet file, or is damaged: {error}") from error
    column = next((name for name in _ALTERNATIVES if name in table.column_names), "")
    if "recording_id" not in table.column_names or not column:
        raise UnusableVectorFile(
            f"{uri} has the columns {', '.join(table.column_names)}; recording_id is needed, and windows (a list of "
            "vectors) or embedding (a vector)"
        )
    try:
        windows, starts = _vectors(table[column], nested=column == "windows")
        ids = tuple(map(str, table["recording_id"].to_pylist()))
        computed_from = json.loads((table.schema.metadata or {}).get(_METADATA, b"{}"))
    except (ValueError, TypeError, AttributeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnusableVectorFile(f"{uri} cannot be used: {error}") from error
    if len(set(ids)) < len(ids):
        raise UnusableVectorFile(
            f"{uri} cannot be used: {len(ids) - len(set(ids))} values of recording_id are repeated"
        )
    return VectorFile(ids, windows, starts, computed_from, table.drop_columns([column]))


def _vectors(column: pa.ChunkedArray, *, nested: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of all rows and where those of each row begin.

    Raises:
        ValueError: The column is no list of vectors, or they are not finite or of different sizes.
    """
    parts: list[np.ndarray] = []
    counts = [np.zeros(1, np.int64)]
    for lists in column.chunks:
        counts.append(
            pc.list_value_length(lists).to_numpy(zero_copy_only=False) if nested else np.ones(len(lists), int)
        )
        vectors = lists.flatten() if nested else lists
        if lists.null_count or vectors.null_count:
            raise ValueError("vectors are missing")
        values = vectors.flatten().to_numpy(zero_copy_only=False)
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise ValueError("vectors are not lists of finite floating-point numbers")
        fixed = [vectors.type.list_size] if pa.types.is_fixed_size_list(vectors.type) else []
        sizes = fixed or pc.unique(pc.list_value_length(vectors)).to_pylist()
        if len({*sizes, *(part.shape[1] for part in parts)}) > 1:
            raise ValueError(f"vectors have different sizes, such as {', '.join(map(str, sorted(sizes)[:5]))}")
        parts += [values.astype(np.float32, copy=False).reshape(len(vectors), size) for size in sizes]
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32), np.cumsum(np.concatenate(counts))


def write_vector_file(uri: str, split: str, result: CorpusEmbeddings, computed_from: Mapping[str, Any]) -> None:
    """Writes the recordings of a split; readers see either the whole file or none.

    Raises:
        StorageError, StoragePermanentError: The file could not be written.
    """
    dim = result.embedded.windows.shape[1]
    schema = pa.schema(
        [
            pa.field("recording_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("windows", pa.list_(pa.list_(pa.float32(), dim)), nullable=False),
            pa.field("labels", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
        ],
        {_METADATA: json.dumps(computed_from, ensure_ascii=False).encode()},
    )
    with tempfile.TemporaryDirectory(prefix="mulan-vectors-") as folder:
        path = os.path.join(folder, "vectors.parquet")
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for table in _tables(split, result, schema):
                writer.write_table(table)
        filesystem.upload(path, uri)


def _tables(split: str, result: CorpusEmbeddings, schema: pa.Schema) -> Iterator[pa.Table]:
    recordings, starts = result.embedded.recordings, result.embedded.starts
    rows = {each.recording_id: row for row, each in enumerate(recordings)}
    ids = sorted([*rows, *result.skipped])
    for first in range(0, len(ids), _ROWS_PER_GROUP):
        some = ids[first : first + _ROWS_PER_GROUP]
        kept = [rows[name] for name in some if name in rows]
        counts = [int(starts[rows[name] + 1] - starts[rows[name]]) if name in rows else 0 for name in some]
        # ids are ascending in both, so that the rows that are kept are adjacent
        vectors = result.embedded.windows[starts[kept[0]] : starts[kept[-1] + 1]] if kept else np.zeros(0, np.float32)
        flat = pa.FixedSizeListArray.from_arrays(
            pa.array(vectors.reshape(-1)), type=schema.field("windows").type.value_type
        )
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
        labels = [labels_to_json(recordings[rows[name]]) if name in rows else "" for name in some]
        columns = [
            pa.array(some),
            pa.array([split] * len(some)),
            pa.ListArray.from_arrays(offsets, flat, type=schema.field("windows").type),
            pa.array(labels),
            pa.array([result.skipped.get(name, "") for name in some]),
        ]
        yield pa.Table.from_arrays(columns, schema=schema)


def embeddings_of(file: VectorFile, *, is_unit: bool) -> CorpusEmbeddings:
    """Returns the recordings of a file that this package has written.

    Raises:
        UnusableVectorFile: Columns are missing or of another type.
    """
    try:
        reasons, splits = file.table["reason"].to_pylist(), file.table["split"].to_pylist()
        rows = [row for row, reason in enumerate(reasons) if not reason]
        labels = file.table["labels"].to_pylist()
        recordings = tuple(labels_from_json(file.recording_ids[row], splits[row], labels[row]) for row in rows)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnusableVectorFile(f"it was written by another version: {error}") from error
    counts = np.diff(file.starts)
    starts = np.concatenate([[0], np.cumsum(counts[rows])]).astype(np.int64)
    skipped = {file.recording_ids[row]: reason for row, reason in enumerate(reasons) if reason}
    if not (counts[rows] > 0).all() or starts[-1] != len(file.windows):
        raise UnusableVectorFile("it was written by another version: recordings without vectors")
    return CorpusEmbeddings(EmbeddedRecordings(recordings, file.windows, starts, is_unit), skipped)
