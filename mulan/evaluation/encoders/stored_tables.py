"""Tables of vectors in Parquet files: reading and checking."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

RECORDING, TEXT = "recording_id", "text"
"""Names of the columns that tell files of recordings from files of texts."""
_VECTORS = "embedding"


@dataclass(frozen=True, eq=False)
class StoredTable:
    """Vectors by id, each row with one or several, before or after they were checked."""

    key: str
    """Name of the column with the ids: :data:`RECORDING` or :data:`TEXT`."""
    keys: tuple[str, ...]
    """Ids; empty for those that are null."""
    values: np.ndarray
    """Values of all vectors, one after another, float32 [values]."""
    sizes: np.ndarray
    """Number of values of each vector, int64 [vectors]."""
    counts: np.ndarray
    """Number of vectors of each row, int64 [rows]."""

    @staticmethod
    def joined(tables: Sequence["StoredTable"]) -> "StoredTable":
        """Joins the rows of several tables of one kind."""
        values, sizes, counts = (
            np.concatenate([getattr(table, name) for table in tables]) for name in ("values", "sizes", "counts")
        )
        return StoredTable(tables[0].key, tuple(key for table in tables for key in table.keys), values, sizes, counts)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each id."""
        return {key: row for row, key in enumerate(self.keys)}

    @cached_property
    def dim(self) -> int:
        """Size of the vectors, the most frequent one if they differ; 0 if all are empty."""
        sizes = self.sizes[self.sizes > 0]
        return int(np.bincount(sizes).argmax()) if len(sizes) else 0

    def faults(self) -> Iterator[str]:
        """Yields what is wrong with ids and vectors."""
        what = "recording" if self.key == RECORDING else "text"
        if not self.keys:
            yield f"there is no {what} in the files"
        blank = sum(not key for key in self.keys)
        if blank:
            yield f"{blank} rows have no {self.key}"
        repeated = [key for key, count in Counter(self.keys).items() if count > 1 and key]
        yield from (f"the {what} {key!r:.80} occurs several times" for key in repeated)
        names = [f"the {what} {key!r:.80}" for key in self.keys]
        row_of = np.repeat(np.arange(len(self.keys)), self.counts)
        yield from (f"{names[row]} has no vector" for row in np.flatnonzero(self.counts == 0))
        if self.key == TEXT:
            yield from (f"{names[row]} has several vectors" for row in np.flatnonzero(self.counts > 1))
        ragged = np.flatnonzero(self.sizes != self.dim)
        yield from (
            f"{names[row_of[vector]]} has a vector of {self.sizes[vector]} values, but most have {self.dim}"
            for vector in ragged
        )
        not_finite = np.searchsorted(np.cumsum(self.sizes), np.flatnonzero(~np.isfinite(self.values)), side="right")
        yield from (
            f"{names[row]} has values that are missing, NaN or infinite" for row in np.unique(row_of[not_finite])
        )
        if len(self.sizes) and not self.dim:
            yield f"the vectors of all {what}s are empty"
        if not len(ragged) and self.dim:
            zero = ~self.values.reshape(-1, self.dim).any(axis=1)
            yield from (f"{names[row]} has a vector of zeros" for row in np.unique(row_of[zero]))

    def normalised(self) -> "StoredTable":
        """Returns the table with unit vectors; it has no faults."""
        vectors = self.values.reshape(-1, self.dim)
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        return StoredTable(
            self.key, self.keys, (vectors / norms).astype(np.float32).reshape(-1), self.sizes, self.counts
        )

    def select(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the vectors of rows, float32 [vectors, d], and where those of each row start, int64 [rows + 1]."""
        counts = self.counts[rows]
        ends = np.cumsum(self.counts)
        starts = np.concatenate([[0], np.cumsum(counts)])
        index = np.repeat(ends[rows] - counts - starts[:-1], counts) + np.arange(starts[-1])
        return self.values.reshape(-1, self.dim)[index], starts


def read_table(path: str, name: str, faults: list[str]) -> StoredTable | None:
    """Reads the vectors of a file. Adds to the faults and returns None if the file has other columns or is damaged.

    Args:
        path: Local path of the file.
        name: Name of the file, for messages.
        faults: Receives what is wrong.
    """
    try:
        schema = pq.read_schema(path)
        keys = [key for key in (RECORDING, TEXT) if key in schema.names]
        if len(keys) != 1 or _VECTORS not in schema.names:
            shown = ", ".join(schema.names[:20]) or "none"
            needed = f"either {RECORDING} or {TEXT}, and {_VECTORS}"
            faults.append(f"{name} has the columns {shown}, but needs {needed}")
            return None
        table = pq.read_table(path, columns=[keys[0], _VECTORS])
    except (pa.ArrowException, OSError, ValueError) as error:
        faults.append(f"{name} is no Parquet file, or is damaged: {' '.join(str(error).split())[:200]}")
        return None
    ids, vectors = table.column(keys[0]), table.column(_VECTORS)
    of_ids = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    wrong = []
    if not (pa.types.is_string(of_ids) or pa.types.is_large_string(of_ids) or pa.types.is_string_view(of_ids)):
        wrong.append(f"{name}: the column {keys[0]} has the type {ids.type}, not string")
    if not _is_list(vectors.type) or not pa.types.is_floating(_innermost(vectors.type)):
        wrong.append(f"{name}: the column {_VECTORS} has the type {vectors.type}, not lists of floating-point numbers")
    if wrong:
        faults += wrong
        return None
    parts = [_read_chunk(keys[0], ids.slice(start, rows), chunk) for start, rows, chunk in _chunks(vectors)]
    return StoredTable.joined(parts) if parts else StoredTable(keys[0], (), *_EMPTY)


_EMPTY = (np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))


def _chunks(column: pa.ChunkedArray) -> Iterator[tuple[int, int, pa.Array]]:
    """Yields the chunks of a column, each with the number of its first row and of its rows."""
    start = 0
    for chunk in column.chunks:
        yield start, len(chunk), chunk
        start += len(chunk)


def _read_chunk(key: str, ids: pa.ChunkedArray, vectors: pa.Array) -> StoredTable:
    keys = tuple(value or "" for value in ids.to_pylist())
    is_nested = _is_list(vectors.type.value_type)
    counts = _lengths(vectors) if is_nested else np.ones(len(vectors), np.int64)
    # a null instead of a list has no vector
    counts = np.where(_is_null(vectors), 0, counts)
    each = vectors.flatten() if is_nested else vectors.drop_null()
    with np.errstate(over="ignore"):  # becomes infinite
        values = each.flatten().to_numpy(zero_copy_only=False).astype(np.float32)  # nulls become NaN
    return StoredTable(key, keys, values, _lengths(each), counts)


def _lengths(lists: pa.Array) -> np.ndarray:
    """Returns the number of items of each list, int64 [lists]; 0 for nulls."""
    lengths: np.ndarray = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _is_null(array: pa.Array) -> np.ndarray:
    is_null: np.ndarray = array.is_null().to_numpy(zero_copy_only=False)
    return is_null


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _innermost(kind: pa.DataType) -> pa.DataType:
    """Returns the type of the values of lists, or of lists of lists."""
    inner = kind.value_type
    return inner.value_type if _is_list(inner) else inner
