"""Parquet and Arrow files that tests write."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FORMATS = ("parquet", "arrow file", "arrow stream")


def write_table(table: pa.Table, folder: Path, kind: str, *, rows: int, name: str = "table") -> str:
    """Writes a table in groups or batches of a number of rows, and returns the path of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / f"{name}.{'parquet' if kind == 'parquet' else 'arrow'}")
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=rows)
        return path
    new = pa.ipc.new_file if kind == "arrow file" else pa.ipc.new_stream
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def audio_table(contents: list[bytes | None], **columns: list[object]) -> pa.Table:
    """Returns a table with a column ``audio`` of structs with bytes and path, as Hugging Face writes them."""
    audio = [
        {"bytes": content, "path": f"{index:03d}.wav" if content is not None else None}
        for index, content in enumerate(contents)
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"audio": pa.array(audio, kind), **columns})
