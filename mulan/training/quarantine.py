"""``quarantine.parquet``: the recordings that a run could not use, for their owner to mend or to leave out."""

import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.data import storage
from mulan.data.batch import Replaced
from mulan.data.storage_errors import StorageError

SCHEMA = pa.schema(
    [("recording_id", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("first_step", pa.int64())]
)


class Quarantine:
    """A row for each recording, however often the plan comes back to it; the file is always whole."""

    def __init__(self, uri: str, *, keep_steps: int) -> None:
        """Continues a file that is there; rows first met after ``keep_steps`` are dropped, and will be met again."""
        self._uri = uri
        self._rows = {row["recording_id"]: row for row in read_quarantine(uri) if row["first_step"] <= keep_steps}
        self._changed = True

    def add(self, step: int, skipped: Iterable[Replaced]) -> None:
        for bad in skipped:
            if bad.recording_id not in self._rows:
                self._rows[bad.recording_id] = {**vars(bad), "first_step": step}
                self._changed = True

    def flush(self) -> None:
        """Writes the file if there is anything new. Another thread may add rows meanwhile.

        Raises:
            StorageError: it could not be written; what was there still is.
        """
        if not self._changed:
            return
        self._changed = False  # what is added from here on is for the next time
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(self._rows.values()), SCHEMA), buffer)
        try:
            storage.write_atomically(self._uri, buffer.getvalue())
        except StorageError:
            self._changed = True
            raise


def read_quarantine(uri: str) -> list[dict[str, Any]]:
    """Its rows, in the order in which they were met; none where there is no file."""
    if not storage.exists(uri):
        return []
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(storage.read_bytes(uri))).to_pylist()
    return rows
