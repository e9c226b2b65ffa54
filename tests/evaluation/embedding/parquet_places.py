"""Where the parts of a file of vectors are."""

import os

import pyarrow.parquet as pq


def vectors_start(path: str | os.PathLike[str]) -> int:
    """Returns the offset in bytes of the first page of vectors."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    (vectors,) = [column for column in columns if column.path_in_schema.startswith("embedding")]
    return int(vectors.dictionary_page_offset or vectors.data_page_offset)
