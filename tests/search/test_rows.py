"""Rows of an index are read back, and their digests tell whether anything of a recording has changed."""

import numpy as np
import pyarrow as pa

from mulan.search.rows import IndexedRow, digests, row_schema
from tests.search.planted import DIM, planted_vectors

ROW = {
    "recording_id": "a", "duration_s": 2.0, "tags": ["genre:rock"],
    "details": {
        "uri": "/a.flac", "offset": 0, "length": 10, "extension": "flac", "start_s": 1.0, "duration_s": 2.0,
        "title": "A", "artist": "", "waveform": b"\x01\x02", "window_starts_s": np.array([0.0, 0.5]).tobytes(),
    },
    "vector": planted_vectors(1)[0].tolist(), "digest": 0,
    "windows": planted_vectors(2).astype(np.float16).tobytes(),
}  # fmt: skip
DETAILS = ROW["details"]
assert isinstance(DETAILS, dict)


def digest_of(row: dict[str, object]) -> int:
    batch = pa.RecordBatch.from_pylist([row], row_schema(DIM, windows=True))
    return int(digests(batch.drop_columns(["digest"]))[0])


def test_a_digest_changes_with_every_column() -> None:
    changes = {
        "recording_id": "b", "duration_s": 2.5, "tags": [], "vector": planted_vectors(1, seed=1)[0].tolist(),
        "windows": planted_vectors(2, seed=1).astype(np.float16).tobytes(),
    }  # fmt: skip
    changes_of_details = {
        "uri": "/b.flac", "offset": 1, "length": 11, "extension": "mp3", "start_s": 1.5, "duration_s": 2.5, "title": "",
        "artist": "A", "waveform": b"\x01", "window_starts_s": np.array([0.0, 0.6]).tobytes(),
    }  # fmt: skip
    assert (set(changes), set(changes_of_details)) == (set(ROW) - {"digest", "details"}, set(DETAILS))
    rows = [{**ROW, name: value} for name, value in changes.items()]
    rows += [{**ROW, "details": {**DETAILS, name: value}} for name, value in changes_of_details.items()]
    assert len({digest_of(row) for row in [ROW, *rows]}) == 1 + len(rows)
    assert digest_of(ROW) == digest_of(dict(ROW))


def test_a_row_without_windows_has_none() -> None:
    row = IndexedRow.of({name: value for name, value in ROW.items() if name != "windows"})
    assert row.windows.shape == (0, DIM)
    assert len(row.window_starts_s) == 0
    whole = IndexedRow.of(ROW)
    np.testing.assert_array_equal(whole.windows, planted_vectors(2).astype(np.float16))
    assert whole.window_starts_s.tolist() == [0.0, 0.5]
