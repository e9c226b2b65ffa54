"""A synthetic index of any number of rows, like that of a large collection of videos."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from mulan.data.corpus.index_rows import SCHEMA, write_index

RECORDINGS_PER_SHARD = 1024
_ROWS_AT_ONCE = 2**20
_ID_LENGTH = 11
_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", np.uint8)
_SHARES = {"short_form": 1.0, "long_form": 0.5, "playlist": 0.4, "audioset": 0.05}
"""Share of the recordings that have texts of each source."""
_HELD_OUT = 1e-3
"""Share of the recordings of each split other than ``train``."""
_TAGS, _TAGS_PER_RECORDING = 500, 2
_BYTES = 512 * 320
"""Number of bytes of a recording: ten seconds of FLAC."""


class SyntheticRows:
    """Rows of an index, :data:`SCHEMA`, which are drawn again whenever they are iterated over, in parts of a million.

    Ids are eleven random letters, like those of YouTube, so that they do not compress.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[pa.Table]:
        for start in range(0, self._rows, _ROWS_AT_ONCE):
            yield _part(start, min(_ROWS_AT_ONCE, self._rows - start))


def write_synthetic_index(corpus_uri: str, rows: int) -> None:
    """Writes ``CORPUS_URI/index.parquet`` with this number of rows; there are no shards."""
    write_index(SyntheticRows(rows), corpus_uri)


def _part(start: int, count: int) -> pa.Table:
    rng = np.random.default_rng(start)
    numbers = np.arange(start, start + count)
    letters = _LETTERS[rng.integers(0, len(_LETTERS), (count, _ID_LENGTH), np.uint8)]
    ends = np.arange(count + 1, dtype=np.int32) * _ID_LENGTH
    ids = pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(letters.tobytes()))
    shards = numbers // RECORDINGS_PER_SHARD
    names = pa.array([f"shards/{number:06d}.tar" for number in range(shards[0], shards[-1] + 1)])
    splits = np.digitize(rng.random(count), [1 - 2 * _HELD_OUT, 1 - _HELD_OUT]).astype(np.int32)
    has_source = rng.random((count, len(_SHARES))) < list(_SHARES.values())
    source_ends = np.concatenate([[0], np.cumsum(has_source.sum(1))]).astype(np.int32)
    tag_ends = np.arange(count + 1, dtype=np.int32) * _TAGS_PER_RECORDING
    tags = rng.integers(0, _TAGS, _TAGS_PER_RECORDING * count).astype(np.int32)
    columns = {
        "recording_id": ids,
        "uri": _coded((shards - shards[0]).astype(np.int32), names),
        "offset": pa.array(numbers % RECORDINGS_PER_SHARD * _BYTES),
        "length": pa.array(np.full(count, _BYTES)),
        "duration_s": pa.array(rng.uniform(10, 400, count).round(2)),
        "split": _coded(splits, pa.array(["train", "validation", "test"])),
        "sources": pa.ListArray.from_arrays(source_ends, _coded(np.nonzero(has_source)[1], pa.array(list(_SHARES)))),
        "tags": pa.ListArray.from_arrays(tag_ends, _coded(tags, pa.array([f"genre:{tag}" for tag in range(_TAGS)]))),
    }
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema([SCHEMA.field(name) for name in columns]))


def _coded(codes: np.ndarray, values: pa.Array) -> pa.Array:
    return values.take(pa.array(codes))
