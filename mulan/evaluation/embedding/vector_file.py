"""Parquet files with the vectors of the recordings of a split, which any other program can read.

A file has one row for each recording, in ascending order of the ids:

================  ======================================  ==============================================================
column            type                                    content
================  ======================================  ==============================================================
``recording_id``  string                                  id of the recording in its corpus
``split``         string                                  ``train``, ``validation`` or ``test``
``embedding``     list of float32 lists of size d         vectors of the recording's windows, evenly spaced from its
                                                          start to its end
``labels``        string                                  JSON with ``tags``, ``texts`` by source, ``artist``,
                                                          ``title`` and ``targets``
================  ======================================  ==============================================================

The key ``mulan`` of the schema's metadata is a JSON object that says what the vectors were computed from, and why
recordings were skipped. The evaluation reads such a file as an encoder too: ``parquet=FILE``.
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
from mulan.config.parsing import parse_json
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.labels import labels_from_json, labels_to_json
from mulan.evaluation.recordings import EmbeddedRecordings
from mulan.storage import filesystem
from mulan.storage.errors import permanent_error

_METADATA = b"mulan"
_ROWS_PER_GROUP = 1024
"""Number of rows that are converted at once."""


class UnusableVectorFile(MulanError, ValueError):
    """A file of vectors is missing or damaged, or was written by another version."""


@dataclass(frozen=True, eq=False)
class VectorFile:
    """The content of a file of vectors."""

    result: CorpusEmbeddings
    """The recordings of the split."""
    computed_from: Mapping[str, Any]
    """What the vectors were computed from."""


def read_vector_file(uri: str, *, is_unit: bool) -> VectorFile:
    """Reads a file that :func:`write_vector_file` has written.

    Args:
        uri: Path or URI of the file.
        is_unit: As of :class:`mulan.evaluation.recordings.EmbeddedRecordings`.

    Raises:
        UnusableVectorFile: There is no such file, or it is damaged, or was written by another version.
        StorageError, StoragePermanentError: Its storage failed.
    """
    try:
        content = filesystem.read_bytes(uri)
    except OSError as error:
        raise UnusableVectorFile(f"{uri} cannot be read: {error.strerror or error}") from error
    try:
        table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
        table.validate(full=True)
        stated = parse_json(table.schema.metadata[_METADATA])
        windows, starts = _vectors(table["embedding"])
        names = (table[name].to_pylist() for name in ("recording_id", "split", "labels"))
        recordings = tuple(labels_from_json(*columns) for columns in zip(*names, strict=True))
        result = CorpusEmbeddings(EmbeddedRecordings(recordings, windows, starts, is_unit), stated["skipped"])
        return VectorFile(result, stated["computed_from"])
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise UnusableVectorFile(f"{uri} is no file of vectors, or is damaged: {error}") from error


def _vectors(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the vectors of all rows, and where those of each row start."""
    dim = column.type.value_type.list_size
    values = [chunk.flatten().flatten().to_numpy() for chunk in column.chunks]
    windows = np.concatenate([np.zeros(0, np.float32), *values]).reshape(-1, dim)
    counts = pc.list_value_length(column).to_numpy()
    if not (counts > 0).all() or not np.isfinite(windows).all():
        raise ValueError("recordings have no finite vectors")
    return windows, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def write_vector_file(uri: str, split: str, result: CorpusEmbeddings, computed_from: Mapping[str, Any]) -> None:
    """Writes the recordings of a split; readers see either the whole file or none.

    Raises:
        StorageError, StoragePermanentError: The file could not be written.
    """
    dim = result.embedded.dim
    stated = {"computed_from": dict(computed_from), "skipped": dict(result.skipped)}
    schema = pa.schema(
        [
            pa.field("recording_id", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("embedding", pa.list_(pa.list_(pa.float32(), dim)), nullable=False),
            pa.field("labels", pa.string(), nullable=False),
        ],
        {_METADATA: json.dumps(stated, ensure_ascii=False).encode()},
    )
    with tempfile.TemporaryDirectory(prefix="mulan-vectors-") as folder:
        path = os.path.join(folder, "vectors.parquet")
        try:
            with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
                for table in _tables(split, result.embedded, schema):
                    writer.write_table(table)
        except OSError as error:  # the disk of temporary files is full
            raise permanent_error(f"{path} cannot be written", error) or error from error
        filesystem.upload(path, uri)


def _tables(split: str, embedded: EmbeddedRecordings, schema: pa.Schema) -> Iterator[pa.Table]:
    kind = schema.field("embedding").type
    for first in range(0, len(embedded.recordings), _ROWS_PER_GROUP):
        recordings = embedded.recordings[first : first + _ROWS_PER_GROUP]
        starts = embedded.starts[first : first + len(recordings) + 1]
        values = pa.array(embedded.windows_at(slice(starts[0], starts[-1])).reshape(-1))
        vectors = pa.FixedSizeListArray.from_arrays(values, type=kind.value_type)
        columns = [
            pa.array([each.recording_id for each in recordings]),
            pa.array([split] * len(recordings)),
            pa.ListArray.from_arrays(pa.array((starts - starts[0]).astype(np.int32)), vectors, type=kind),
            pa.array(list(map(labels_to_json, recordings))),
        ]
        yield pa.Table.from_arrays(columns, schema=schema)
