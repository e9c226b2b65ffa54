"""Rows of an index are read back, and their digests tell whether anything of a recording has changed."""

import numpy as np
import pyarrow as pa

from mulan.search.rows import IndexedRow, digests, row_schema
from tests.search.planted import DIM, planted_vectors

ROW = {
    "recording_id": "a", "uri": "/a.flac", "offset": 0, "length": 10, "extension": "flac", "start_s": 1.0,
    "duration_s": 2.0, "title": "A", "artist": "", "tags": ["genre:rock"], "waveform": b"\x01\x02",
    "vector": planted_vectors(1)[0].tolist(), "digest": 0, "window_starts_s": [0.0, 0.5],
    "windows": planted_vectors(2).astype(np.float16).tobytes(),
}  # fmt: skip


def digest_of(row: dict[str, object]) -> int:
    batch = pa.RecordBatch.from_pylist([row], row_schema(DIM, windows=True))
    return int(digests(batch.drop_columns(["digest"]))[0])


def test_a_digest_changes_with_every_column() -> None:
    changes = {
        "recording_id": "b", "uri": "/b.flac", "offset": 1, "length": 11, "extension": "mp3", "start_s": 1.5,
        "duration_s": 2.5, "title": "", "artist": "A", "tags": [], "waveform": b"\x01",
        "vector": planted_vectors(1, seed=1)[0].tolist(), "window_starts_s": [0.0, 0.6],
        "windows": planted_vectors(2, seed=1).astype(np.float16).tobytes(),
    }  # fmt: skip
    assert set(changes) == set(ROW) - {"digest"}
    digests_of_rows = {digest_of({**ROW, name: value}) for name, value in changes.items()}
    assert len(digests_of_rows | {digest_of(ROW)}) == len(changes) + 1
    assert digest_of(ROW) == digest_of(dict(ROW))


def test_a_row_without_windows_has_none() -> None:
    row = IndexedRow.of({name: value for name, value in ROW.items() if name not in ("windows", "window_starts_s")})
    assert row.windows.shape == (0, DIM)
    assert len(row.window_starts_s) == 0
    whole = IndexedRow.of(ROW)
    np.testing.assert_array_equal(whole.windows, planted_vectors(2).astype(np.float16))
    assert whole.window_starts_s.tolist() == [0.0, 0.5]
