"""Tables and files that tests write, and the recordings that are found in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mulan.preparation.faults import Faults
from mulan.preparation.found import FoundRecording
from mulan.preparation.sources.table import TableConfig, TableSource
from mulan.storage import filesystem

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


def write_files(folder: str | Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        filesystem.write_atomically(f"{folder}/{name}", content.encode() if isinstance(content, str) else content)


def write_audio(folder: str | Path, names: Sequence[str]) -> None:
    write_files(folder, {name: f"audio of {name}" for name in names})


def found_in_table(uri: str | Path, **settings: Any) -> tuple[list[FoundRecording], Faults]:
    faults, source = Faults(), TableSource(str(uri), TableConfig().replace(settings))
    recordings = list(source.recordings(faults))
    assert list(source.recordings(Faults())) == recordings  # it can be called again
    return recordings, faults
