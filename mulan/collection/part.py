"""The files of parts of embeddings: their columns, how they are written, and the checks of what is read."""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mulan.config.errors import MulanError
from mulan.data.errors import one_line
from mulan.storage import filesystem

WAVEFORM_BYTES = 200
"""Number of magnitudes in the picture of a recording's waveform."""

Dtype = Literal["float32", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "float16")
"""Types of the numbers of vectors."""

RECORDINGS_PER_PART = 256
"""Number of recordings of a part on average, unless another one is given."""

_ROWS_AT_ONCE = 256

MAKE_AGAIN = "repeat jobs.embed, which makes again what is missing"
AGAIN = f"remove the file, and {MAKE_AGAIN}"


class EmbeddingsError(MulanError, ValueError):
    """A folder of embeddings is missing, unfinished or damaged, or has another format."""


def part_schema(dim: int, dtype: Dtype, *, windows: bool) -> pa.Schema:
    """Returns the columns of a part; none of them has nulls.

    ====================  ==================================================================================
    column                content
    ====================  ==================================================================================
    ``recording_id``      id, unique in the collection
    ``uri``               absolute path or URI of the file that contains the encoded audio
    ``offset``            first byte of the encoded audio in that file, int64
    ``length``            number of bytes of the encoded audio, int64
    ``extension``         extension of the audio in lower case, without the dot
    ``start_s``           second of the encoded audio at which the recording begins; 0 unless it is a part
    ``duration_s``        duration of the recording in seconds, as it was decoded
    ``title``             title; empty if it is unknown
    ``artist``            artist; empty if it is unknown
    ``tags``              tags, ``category:text``
    ``waveform``          200 bytes: the largest magnitudes in equal parts of the recording, 255 is full scale
    ``embedding``         the vector of the recording, the mean over its windows, [dim]
    ``windows``           the vectors of its windows, [windows, dim]; only with ``windows``
    ``window_starts_s``   second of the recording at which each window begins; only with ``windows``
    ====================  ==================================================================================

    Args:
        dim: Size of a vector.
        dtype: Type of the numbers of vectors.
        windows: Whether there are the columns of windows.
    """
    vector = pa.list_(pa.float32() if dtype == "float32" else pa.float16(), dim)
    columns = {
        "recording_id": pa.string(),
        "uri": pa.string(),
        "offset": pa.int64(),
        "length": pa.int64(),
        "extension": pa.string(),
        "start_s": pa.float64(),
        "duration_s": pa.float64(),
        "title": pa.string(),
        "artist": pa.string(),
        "tags": pa.list_(pa.string()),
        "waveform": pa.binary(WAVEFORM_BYTES),
        "embedding": vector,
    }
    if windows:
        columns |= {"windows": pa.list_(vector), "window_starts_s": pa.list_(pa.float64())}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def part_table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Returns the rows of a part.

    Args:
        columns: Values by column: lists, but for ``embedding``, which is an array [rows, dim], and ``windows``, a list
            of arrays [windows, dim].
        schema: The result of :func:`part_schema`.

    Raises:
        EmbeddingsError: A number of a vector is not finite, or too large for the type of the numbers.
    """
    arrays = {
        field.name: pa.array(columns[field.name], field.type)
        for field in schema
        if field.name not in ("embedding", "windows")
    }
    vector = schema.field("embedding").type
    arrays["embedding"] = _vectors(columns["embedding"], vector)
    if "windows" in schema.names:
        counts = [len(each) for each in columns["windows"]]
        values = np.concatenate([np.zeros((0, vector.list_size), np.float32), *columns["windows"]])
        starts = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
        kind = schema.field("windows").type
        arrays["windows"] = pa.ListArray.from_arrays(starts, _vectors(values, vector), type=kind)
    return pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _vectors(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    with np.errstate(over="ignore"):
        numbers = np.asarray(values).astype(kind.value_type.to_pandas_dtype()).reshape(-1)
    if not np.isfinite(numbers).all():
        raise EmbeddingsError(
            f"vectors have numbers that are not finite as {kind.value_type}; if it is halffloat, try --dtype float32, "
            "otherwise the training of the model may have diverged"
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=kind)


PART_NAME = re.compile(r"part-[0-9a-f]+\.parquet")
"""Names of parts; no other file in the folder is ever removed."""


def part_name(digest: str) -> str:
    """Returns the name of the file of a part whose content has this digest in hexadecimal."""
    return f"part-{digest}.parquet"


def write_part(folder_uri: str, name: str, table: pa.Table) -> None:
    """Writes a part; readers see either the whole file or none.

    Args:
        folder_uri: Folder of the embeddings.
        name: The result of :func:`part_name`.
        table: The result of :func:`part_table`.

    Raises:
        StorageError, StoragePermanentError: The file cannot be written.
    """
    write_table(filesystem.join(folder_uri, name), table)


def write_table(uri: str, table: pa.Table) -> None:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    filesystem.write_atomically(uri, buffer.getvalue())


def checked_batches(uri: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a part, at least one at a time, with the columns of ``schema``."""
    try:
        file = pq.ParquetFile(io.BytesIO(filesystem.read_bytes(uri)), page_checksum_verification=True)
        stated = file.schema_arrow
        wrong = [field.name for field in schema if field.name not in stated.names]
        wrong += [
            field.name for field in schema if field.name not in wrong and stated.field(field.name).type != field.type
        ]
        if wrong:
            raise ValueError(f"columns are missing or of another type: {', '.join(wrong)}")
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=schema.names):
            batch = batch.select(schema.names)
            batch.validate(full=True)
            wrong = [name for name in schema.names if not _is_valid(batch[name])]
            if wrong:
                raise ValueError(f"there are nulls, or numbers that are not finite, in {', '.join(wrong)}")
            if "windows" in schema.names and not _counts(batch, "windows").equals(_counts(batch, "window_starts_s")):
                raise ValueError("a recording has another number of windows than of their starts")
            if batch.num_rows:
                yield batch.cast(schema)
    except MulanError:
        raise
    except Exception as error:  # pyarrow raises many kinds of exceptions for damaged files
        raise EmbeddingsError(f"{uri} is missing or damaged: {one_line(str(error))}; {AGAIN}") from error


def _counts(batch: pa.RecordBatch, name: str) -> pa.Array:
    return pc.list_value_length(batch[name])


def _is_valid(column: pa.Array) -> bool:
    while not column.null_count and (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        column = column.flatten()
    if column.null_count:
        return False
    return not pa.types.is_floating(column.type) or bool(np.isfinite(column.to_numpy(zero_copy_only=False)).all())
