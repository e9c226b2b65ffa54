"""The recordings of an index: what is stored of each, and how it is read back."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

RECORDING_ID, DETAILS, VECTOR, WINDOWS, DIGEST = "recording_id", "details", "vector", "windows", "digest"

_DETAILS = pa.struct(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("extension", pa.string(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("artist", pa.string(), nullable=False),
        pa.field("waveform", pa.binary(), nullable=False),
        pa.field("window_starts_s", pa.binary(), nullable=False),  # float64 [windows]
    ]
)
_PACKED = {"lance-encoding:packed": "true"}
"""Makes Lance store a row of a struct in one place. Otherwise each field is a read of its own, which takes time in
proportion to the number of rows for a field that is equal in all of them, such as an extension."""


def row_schema(dim: int, *, windows: bool) -> pa.Schema:
    """Returns the columns of an index.

    Args:
        dim: Size d of the vectors.
        windows: Whether the vectors of the windows are stored, as float16: they decide on moments, not on scores.
    """
    fields = [
        pa.field(RECORDING_ID, pa.string(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),  # also among the details, for conditions
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field(DETAILS, _DETAILS, nullable=False, metadata=_PACKED),
        pa.field(VECTOR, pa.list_(pa.float32(), dim), nullable=False),
        pa.field(DIGEST, pa.int64(), nullable=False),  # of all other columns, by which changed rows are found
    ]
    if windows:
        fields.append(pa.field(WINDOWS, pa.binary(), nullable=False))  # float16 [windows, d]
    return pa.schema(fields)


def details(columns: Mapping[str, pa.Array]) -> pa.StructArray:
    """Returns the column of the details from its fields."""
    return pa.StructArray.from_arrays([columns[field.name] for field in _DETAILS], fields=list(_DETAILS))


@dataclass(frozen=True, eq=False)
class IndexedRow:
    """A recording of an index."""

    recording_id: str
    """Id, unique in the index."""
    uri: str
    """Path or URI of the file with its audio."""
    offset: int
    """Offset of the audio in the file in bytes."""
    length: int
    """Length of the audio in bytes."""
    extension: str
    """Extension of the audio file, in lower case without a dot."""
    start_s: float
    """Where in the audio the recording begins, in seconds."""
    duration_s: float
    """Duration in seconds."""
    title: str
    """Title; empty if unknown."""
    artist: str
    """Artist; empty if unknown."""
    tags: tuple[str, ...]
    """Tags, ``category:text``."""
    waveform: bytes
    """Largest magnitudes of the samples in parts of equal duration, uint8."""
    vector: np.ndarray
    """Unit vector, float32 [d]."""
    windows: np.ndarray
    """Unit vectors of its windows, float16 [windows, d]; none if the index has none."""
    window_starts_s: np.ndarray
    """Start of each window in seconds from the start of the recording."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "IndexedRow":
        """Returns the recording of a row, which has the columns :data:`NEEDED`, and :data:`WINDOWS` if it has any."""
        vector = np.asarray(values[VECTOR], np.float32)
        windows = np.frombuffer(values.get(WINDOWS, b""), np.float16).reshape(-1, len(vector))
        named = {**values[DETAILS]}
        starts = np.frombuffer(named.pop("window_starts_s"), np.float64)
        return cls(
            recording_id=values[RECORDING_ID],
            tags=tuple(values["tags"]),
            vector=vector,
            windows=windows,
            window_starts_s=starts[: len(windows)],
            **named,
        )


NEEDED = (RECORDING_ID, "tags", DETAILS, VECTOR)
"""The columns that :meth:`IndexedRow.of` needs."""


def digests(batch: pa.RecordBatch) -> np.ndarray:
    """Returns a digest of each row, int64 [n], which differs if anything of the row does."""
    columns = [column.to_pylist() for column in batch.columns if not pa.types.is_fixed_size_list(column.type)]
    vectors = batch.column(VECTOR).flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
    found = [
        hashlib.blake2b(repr(values).encode() + vector.tobytes(), digest_size=8).digest()
        for *values, vector in zip(*columns, vectors, strict=True)
    ]
    return np.frombuffer(b"".join(found), np.int64)
