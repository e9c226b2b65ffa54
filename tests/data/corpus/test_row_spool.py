"""Tests that rows on the disk are those that were added, in their order, however often they are read."""

import gc
import os
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from mulan.data.corpus.index_rows import SCHEMA
from mulan.data.corpus.row_spool import RowSpool
from tests.data.corpus.indexed import row


def test_rows_are_read_as_they_were_added() -> None:
    spool = RowSpool(SCHEMA)
    rows = [row(number, fields=f"{{{number % 2}}}", tags=["x"] * (number % 3)) for number in range(10)]
    for start, stop in ((0, 4), (4, 4), (4, 10)):
        spool.add(pa.Table.from_pylist(rows[start:stop], SCHEMA))
    assert spool.num_rows == 10
    for _ in range(2):
        assert [each for table in spool for each in table.to_pylist()] == rows
    half = iter(spool)
    next(half)
    assert pa.concat_tables(spool).to_pylist() == rows  # while another reader has begun


def test_nothing_is_an_empty_spool() -> None:
    assert list(RowSpool(SCHEMA)) == []


def test_the_file_is_removed_with_the_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spool = RowSpool(SCHEMA)
    spool.add(pa.Table.from_pylist([row(0)], SCHEMA))
    assert len(open_files_below(tmp_path)) == 1
    del spool
    gc.collect()
    assert open_files_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def open_files_below(folder: Path) -> list[str]:
    """Returns the files of this process that are open, also those without a name."""
    files = []
    for entry in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing itself
            files.append(os.readlink(f"/proc/self/fd/{entry}"))
    return [file for file in files if file.startswith(str(folder))]
