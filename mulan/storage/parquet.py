"""Parquet files that are written in parts, which are never in memory together."""

import os
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.storage import filesystem
from mulan.storage.errors import permanent_error
from mulan.storage.staging import staging_folder

_ROW_GROUP = 2**20
"""Number of rows of a row group, which are held in memory."""


def write_parquet(parts: Iterable[pa.Table], schema: pa.Schema, uri: str) -> None:
    """Writes tables as one file, which readers see whole or not at all; its bytes do not depend on how rows are parted.

    Args:
        parts: Tables that can be cast to the schema.
        schema: Schema of the file, with its metadata.
        uri: Path or URI of the file.

    Raises:
        StorageError, StoragePermanentError: The file could not be written; an old one is kept.
    """
    folder_uri, _, name = uri.rpartition("/")
    try:
        with staging_folder(folder_uri) as folder:
            path = os.path.join(folder, name)
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                for group in _row_groups(parts, schema):
                    writer.write_table(group, row_group_size=_ROW_GROUP)
            filesystem.upload(path, uri)
    except OSError as error:  # of the temporary file, such as a full disk
        raise permanent_error(f"{uri} cannot be written", error) or error from error


def _row_groups(parts: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yields the rows in tables of :data:`_ROW_GROUP`, each column in one chunk."""
    held, count = [schema.empty_table()], 0
    for part in parts:
        held.append(part.cast(schema))
        count += part.num_rows
        while count >= _ROW_GROUP:
            table = pa.concat_tables(held).combine_chunks()
            yield table.slice(0, _ROW_GROUP)
            held, count = [table.slice(_ROW_GROUP)], count - _ROW_GROUP
    yield pa.concat_tables(held).combine_chunks()
