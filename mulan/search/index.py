"""An index of a collection: searches for what is near to a vector, and the recordings that they find."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulan.search.errors import UnknownRecording
from mulan.search.exact import ExactSearch
from mulan.search.manifest import IndexManifest
from mulan.search.query import Query
from mulan.search.rows import IndexedRow
from mulan.search.table import RecordingTable
from mulan.storage import filesystem


@dataclass(frozen=True, eq=False)
class Found:
    """A recording that a query has found."""

    row: IndexedRow
    """The recording."""
    score: float
    """Product of its vector, or of that of its best window, with the vector of the query, computed in float64."""
    start_s: float
    """Where in its audio the window begins that matches best, in seconds."""


class SearchIndex:
    """An index as it was when it was opened. It may be used by several threads."""

    def __init__(self, uri: str, manifest: IndexManifest, table: RecordingTable) -> None:
        self.uri, self.manifest = uri, manifest
        self._table = table
        self.recordings = table.count()
        """Number of recordings."""
        self.is_exact = not table.is_approximate
        """Whether searches compare with all recordings."""
        self._search: ExactSearch | RecordingTable = table
        self._take = table.take
        if self.is_exact and self.recordings:
            self._search = exact = ExactSearch(table.snapshot())
            self._take = exact.take if exact.has_rows else table.take

    @classmethod
    def open(cls, uri: str, *, unless: "SearchIndex | None" = None) -> "SearchIndex":
        """Opens an index; the vectors are loaded into memory if it is searched exactly.

        Args:
            uri: Folder of the index.
            unless: The same index as it was opened before, which is returned if it has not changed since.

        Raises:
            UnusableIndex: There is none, or it is unfinished or damaged.
            StorageError: The storage cannot be read.
        """
        uri = filesystem.absolute(uri)
        manifest, table = IndexManifest.read(uri), RecordingTable.open(uri)
        if unless is not None and (unless.manifest, unless.version) == (manifest, table.version):
            return unless
        return cls(uri, manifest, table)

    @property
    def version(self) -> int:
        """Number of the version that was opened."""
        return self._table.version

    def search(self, queries: Sequence[Query]) -> list[list[Found]]:
        """Returns what each query finds, the best recording first.

        Recordings with equal scores are in the order of their ids.

        Raises:
            StorageError: The storage cannot be read.
        """
        if not queries or not self.recordings:
            return [[] for _ in queries]
        nearest = self._search.nearest(queries)
        rows = iter(self._take(np.concatenate(nearest)))
        return [_ranked(query, [next(rows) for _ in each]) for query, each in zip(queries, nearest, strict=True)]

    def recording(self, recording_id: str) -> IndexedRow:
        """Returns a recording.

        Raises:
            UnknownRecording: It is not in the index.
            StorageError: The storage cannot be read.
        """
        if isinstance(self._search, ExactSearch) and self._search.has_rows:
            found = self._search.with_id(recording_id)
        else:
            found = self._table.with_ids([recording_id]).get(recording_id)
        if found is None:
            raise UnknownRecording(recording_id)
        return found


def _ranked(query: Query, rows: Sequence[IndexedRow]) -> list[Found]:
    wanted = query.vector.astype(np.float64)
    found = []
    for row in rows:
        if row.recording_id == query.without:
            continue
        windows = row.windows.astype(np.float64) @ wanted
        starts = row.start_s + row.window_starts_s
        score = float(row.vector.astype(np.float64) @ wanted)
        if query.by_window and len(windows):
            score = float(windows.max())
        found.append(Found(row, score, float(starts[np.argmax(windows)]) if len(windows) else row.start_s))
    return sorted(found, key=lambda each: (-each.score, each.row.recording_id))[: query.hits]
