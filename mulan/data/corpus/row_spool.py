"""Rows on the local disk, so that a table of any length can be read several times without being in memory."""

import mmap
import tempfile
import weakref
from collections.abc import Iterator

import pyarrow as pa

from mulan.storage.errors import permanent_error
from mulan.storage.local import TMPDIR_REMEDY


class RowSpool:
    """A temporary file of rows, compressed, which exists as long as this object.

    Rows are added first, and then read any number of times, in the order of their addition.
    """

    def __init__(self, schema: pa.Schema) -> None:
        """
        Args:
            schema: Schema of the rows.
        """
        self.schema = schema
        self.num_rows = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed by the line below
        weakref.finalize(self, self._file.close)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer: pa.RecordBatchStreamWriter | None = pa.ipc.new_stream(self._file, schema, options=options)

    def add(self, rows: pa.Table) -> None:
        """Adds rows, which are cast to the schema.

        Raises:
            StoragePermanentError: The local disk is full.
        """
        assert self._writer is not None, "rows are added before they are read"
        try:
            self._writer.write_table(rows.cast(self.schema).combine_chunks())
        except OSError as error:
            what = f"temporary files cannot be written ({TMPDIR_REMEDY})"
            raise permanent_error(what, error) or error from error
        self.num_rows += rows.num_rows

    def __iter__(self) -> Iterator[pa.Table]:
        """Yields the rows in the parts in which they were added."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._file.flush()
        # mapped, so that several readers do not share a position
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for batch in pa.ipc.open_stream(pa.py_buffer(content)):
                yield pa.Table.from_batches([batch])
