"""The table of an index: rows with vectors, in LanceDB, on a local disk or in an object store.

Every change makes a new version of the table, which readers of an older one do not see until they open it again, so
that an interrupted change leaves the index as it was.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulan.config.paths import redacted
from mulan.search.errors import UnusableIndex
from mulan.search.query import Query, quoted
from mulan.search.rows import NEEDED, RECORDING_ID, VECTOR, WINDOWS, IndexedRow
from mulan.storage import filesystem
from mulan.storage.errors import StorageError

os.environ.setdefault("LANCEDB_LOG", "error")  # read when the library is loaded; it warns of tables that it creates
import lancedb
from lancedb.index import BTree, IvfSq, LabelList

_NAME = "recordings"
_CACHE_BYTES = 2 * 2**30
"""Maximum memory for the approximate index: that of 15 million vectors of 128 numbers."""
_PROBES = 64
"""Number of partitions that an approximate search reads at least."""
_REFINED = 5
"""The rows that an approximate search compares exactly, as a multiple of those asked for."""
_TRAINED_ON = 2048
"""Minimum number of rows of a partition of the approximate index, about."""
MAX_BYTES_IN_MEMORY = 2**30
"""Maximum memory for the columns of an exact search other than the vectors."""
_SAMPLED = 1000
"""Number of rows from which the memory of all is estimated."""
_OLD = timedelta(days=1)
"""How long the files of older versions are kept, for readers that still use them."""

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """What an exact search needs of all rows of a version of the table."""

    row_ids: np.ndarray
    """Where each row is in the table, uint64 [n]."""
    vectors: np.ndarray
    """Unit vectors, float32 [n, d]."""
    durations_s: np.ndarray
    """Durations in seconds, float64 [n]."""
    tags: pa.ListArray
    """Tags of each row."""
    others: pa.Table | None
    """The other columns; None if they need too much memory, so that rows are read when they are found."""


class RecordingTable:
    """A version of the table of an index."""

    def __init__(self, table: Any, uri: str) -> None:
        self._table, self._uri = table, uri
        self.columns: tuple[str, ...] = tuple(table.schema.names)
        """Names of the columns."""

    @classmethod
    def open(cls, uri: str) -> "RecordingTable":
        """Opens the newest version.

        Raises:
            UnusableIndex: There is no table.
            StorageError: The storage cannot be read.
        """
        try:
            return cls(_guarded(uri, _connected(uri).open_table, _NAME), uri)
        except ValueError as error:  # its error for a table that does not exist
            raise UnusableIndex(f"{uri} has no table of recordings; make the index again with jobs.index") from error

    @classmethod
    def create(cls, uri: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> "RecordingTable":
        """Writes a new table, in place of an unfinished one.

        Raises:
            StorageError: The storage cannot be written.
        """
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        table = _guarded(uri, _connected(uri).create_table, _NAME, reader, schema=schema, mode="overwrite")
        return cls(table, uri)

    @property
    def version(self) -> int:
        """Number of the version, which every change increases."""
        return int(self._table.version)

    @property
    def dim(self) -> int:
        """Size d of the vectors."""
        return int(self._table.schema.field(VECTOR).type.list_size)

    @property
    def has_windows(self) -> bool:
        """Whether the vectors of windows are stored."""
        return WINDOWS in self.columns

    @property
    def is_approximate(self) -> bool:
        """Whether there is an approximate index of the vectors."""
        return any(index.columns == [VECTOR] for index in _guarded(self._uri, self._table.list_indices))

    def count(self) -> int:
        """Returns the number of rows."""
        return int(_guarded(self._uri, self._table.count_rows))

    def put(self, batch: pa.RecordBatch) -> None:
        """Adds rows, in place of those with the same ids, in one change."""
        merge = self._table.merge_insert("recording_id").when_matched_update_all().when_not_matched_insert_all()
        _guarded(self._uri, merge.execute, pa.Table.from_batches([batch]))

    def delete(self, recording_ids: Sequence[str]) -> None:
        """Deletes the rows with these ids, in one change; others are ignored."""
        _guarded(self._uri, self._table.delete, _has_ids(recording_ids))

    def index_columns(self, *, approximate_above: int) -> None:
        """Indexes the ids, tags and durations, and the vectors if and only if there are more rows than a number.

        Rows that were added since are added to the indices that exist; until then a search compares with each of them.
        """
        existing = {tuple(index.columns): index.name for index in _guarded(self._uri, self._table.list_indices)}
        wanted: dict[str, Any] = {"recording_id": BTree(), "tags": LabelList(), "duration_s": BTree()}
        count = self.count()
        if count > approximate_above:
            partitions = max(1, min(round(count**0.5), count // _TRAINED_ON))
            wanted[VECTOR] = IvfSq(distance_type="dot", num_partitions=partitions)
        elif (VECTOR,) in existing:
            _guarded(self._uri, self._table.drop_index, existing[VECTOR,])
        for column, config in wanted.items():
            if count and (column,) not in existing:
                _guarded(self._uri, self._table.create_index, column, config=config)
        _guarded(self._uri, self._table.optimize, cleanup_older_than=_OLD)

    def column(self, name: str) -> pa.ChunkedArray:
        """Returns a column of all rows."""
        return _guarded(self._uri, self._scan([name]).to_arrow)[name]

    def byte_count(self, name: str) -> int:
        """Returns the number of bytes in a binary column of all rows, of which a part is in memory at a time."""

        def counted() -> int:
            lengths = (pc.sum(pc.binary_length(batch[name])).as_py() for batch in self._scan([name]).to_batches())
            return sum(filter(None, lengths))

        return _guarded(self._uri, counted)

    def snapshot(self) -> Snapshot:
        """Returns what an exact search needs, all of which is in memory, in the order of the row ids."""
        columns = [name for name in self._found_columns if name != VECTOR]
        sample = _guarded(self._uri, self._scan(columns).limit(_SAMPLED).to_arrow)
        is_small = sample.nbytes / max(1, sample.num_rows) * self.count() <= MAX_BYTES_IN_MEMORY
        needed = [VECTOR, "duration_s", *(columns if is_small else ["tags"])]
        found = _guarded(self._uri, self._scan(needed).with_row_id(True).to_arrow).sort_by("_rowid").combine_chunks()
        vectors = found[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return Snapshot(
            found["_rowid"].to_numpy(),
            np.array(vectors, np.float32).reshape(-1, self.dim),  # a copy: torch warns of arrays that are read-only
            found["duration_s"].to_numpy(),
            found["tags"].combine_chunks(),
            found.select(columns) if is_small else None,
        )

    def nearest(self, queries: Sequence[Query]) -> list[np.ndarray]:
        """Returns for each query where the rows are that are probably nearest, uint64, a few more than asked for."""
        with ThreadPoolExecutor(max_workers=min(len(queries), os.cpu_count() or 1) or 1) as threads:
            return list(threads.map(self._nearest, queries))

    def _nearest(self, query: Query) -> np.ndarray:
        sql = query.filter.sql()
        if not query.vector.any():  # all rows that meet the conditions are equally good
            listed = self._scan([RECORDING_ID]).where(sql) if sql else self._scan([RECORDING_ID])
            return _guarded(self._uri, listed.limit(query.candidates).with_row_id(True).to_arrow)["_rowid"].to_numpy()
        search = (
            self._table.search(query.vector, vector_column_name=VECTOR)
            .distance_type("dot")
            .limit(query.candidates)
            .minimum_nprobes(_PROBES)
            .maximum_nprobes(0 if sql else _PROBES)  # all, if conditions leave too few rows in those
            .refine_factor(_REFINED)
            .select(["_distance"])
            .with_row_id(True)
        )
        if sql:
            search = search.where(sql, prefilter=True)
        return _guarded(self._uri, search.to_arrow)["_rowid"].to_numpy()

    def take(self, row_ids: np.ndarray) -> list[IndexedRow]:
        """Returns rows by where they are in the table, in this order, in one read."""
        if not len(row_ids):
            return []
        distinct, places = np.unique(row_ids, return_inverse=True)
        query = self._table.take_row_ids(distinct.tolist()).select(self._found_columns)
        found = [IndexedRow.of(values) for values in _values(_guarded(self._uri, query.to_arrow))]
        return [found[place] for place in places]

    @property
    def _found_columns(self) -> list[str]:
        """Names of the columns of a row that was found."""
        return [name for name in self.columns if name in (*NEEDED, WINDOWS)]

    def with_ids(self, recording_ids: Sequence[str]) -> dict[str, IndexedRow]:
        """Returns the rows with these ids, of which some may not exist."""
        if not recording_ids:
            return {}
        search = self._scan([*NEEDED]).where(_has_ids(recording_ids))
        return {
            values["recording_id"]: IndexedRow.of(values) for values in _values(_guarded(self._uri, search.to_arrow))
        }

    def _scan(self, columns: list[str]) -> Any:
        return self._table.search().select(columns)


def _values(rows: pa.Table) -> list[dict[str, Any]]:
    """Returns rows as dictionaries, with vectors as arrays rather than lists of Python numbers."""
    dim = rows.schema.field(VECTOR).type.list_size
    vectors = rows[VECTOR].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    others = rows.drop_columns([VECTOR]).to_pylist()
    return [{**values, VECTOR: vector} for values, vector in zip(others, vectors, strict=True)]


def _has_ids(recording_ids: Sequence[str]) -> str:
    return f"recording_id IN ({', '.join(map(quoted, recording_ids))})"


def _connected(uri: str) -> Any:
    session = lancedb.Session(index_cache_size_bytes=_CACHE_BYTES)
    return lancedb.connect(uri, storage_options=_storage_options(uri), session=session)


def _storage_options(uri: str) -> dict[str, str]:
    """Returns the settings of an object store that LanceDB does not read from the environment by itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if filesystem.is_local(uri) or not endpoint:
        return {}
    return {"aws_endpoint": endpoint, "allow_http": str(endpoint.startswith("http://")).lower()}


def _guarded(uri: str, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Calls a function of LanceDB, whose errors for a storage that fails have no type of their own.

    Raises:
        StorageError: The storage failed.
    """
    try:
        return function(*arguments, **named)
    except (OSError, RuntimeError) as error:
        text = str(error)
        with suppress(IndexError):  # what follows is a trace of its own
            text = text.splitlines()[0]
        raise StorageError(f"the index {uri} cannot be read or written: {redacted(text)[:500]}") from error
