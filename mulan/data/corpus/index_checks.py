"""The checks of an index: the types of its columns, and then its rows, batch by batch, so that all faults are named."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mulan.data.corpus.fields import Fields
from mulan.data.corpus.index_columns import CODED, OPENED_SCHEMA, text_content
from mulan.data.corpus.metadata import SPLITS
from mulan.data.randomness import mix

_MAX_BYTES = 2**62
"""Maximum offset and length, so that their sum does not overflow."""
_NAMED = 3
"""Number of recordings that are named for each fault."""
_BLOCK = 2**20
"""Number of rows whose ids are compared at a time."""


class RowChecks:
    """The faults of the rows of an index, which are checked in batches."""

    def __init__(self, max_rows: int) -> None:
        """
        Args:
            max_rows: Maximum number of rows.
        """
        self._rows = 0
        self._counts: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}
        self._with_nulls: set[str] = set()
        self._bad_ranges = False
        self._id_hashes = np.empty(max_rows, np.uint64)

    def add(self, batch: pa.RecordBatch) -> bool:
        """Checks rows of the types of :func:`converted`; returns whether they have no nulls."""
        self._rows += batch.num_rows
        with_nulls = {name for name in batch.schema.names if _has_nulls(batch[name])}
        self._with_nulls |= with_nulls
        if with_nulls:
            return False
        offsets, lengths, durations = (batch[name].to_numpy() for name in ("offset", "length", "duration_s"))
        self._count(batch, offsets < 0, "have a negative offset")
        self._count(batch, offsets > _MAX_BYTES, "have an offset that is too large")
        self._count(batch, lengths <= 0, "have a length that is not positive")
        self._count(batch, lengths > _MAX_BYTES, "have a length that is too large")
        self._count(batch, ~(durations > 0), "have a duration that is not positive")
        self._count(batch, np.isinf(durations), "have an infinite duration")
        is_split = np.isin(batch["split"].dictionary.to_pylist(), SPLITS)
        other_split = ~is_split[batch["split"].indices.to_numpy()] if batch.num_rows else np.zeros(0, bool)
        self._count(batch, other_split, f"have a split other than {', '.join(SPLITS)}")
        if "further_ranges" in batch.schema.names:
            self._check_ranges(batch)
        self._id_hashes[self._rows - batch.num_rows : self._rows] = text_hashes(batch["recording_id"])
        return True

    def _check_ranges(self, batch: pa.RecordBatch) -> None:
        sizes = pc.list_value_length(batch["further_ranges"]).to_numpy()
        self._count(batch, sizes % 2 != 0, "have half a range")
        numbers = batch["further_ranges"].flatten().to_numpy()
        if len(numbers) and (numbers.min() < 0 or numbers.max() > _MAX_BYTES or not numbers[1::2].all()):
            self._bad_ranges = True

    def _count(self, batch: pa.RecordBatch, invalid: np.ndarray, fault: str) -> None:
        rows = np.flatnonzero(invalid)
        self._counts[fault] = self._counts.get(fault, 0) + len(rows)
        names = self._names.setdefault(fault, [])
        names += batch["recording_id"].take(pa.array(rows[: _NAMED - len(names)])).to_pylist()

    @property
    def with_nulls(self) -> list[str]:
        """Columns with nulls; then the faults of the rows are not known."""
        return [name for name in OPENED_SCHEMA.names if name in self._with_nulls]

    def faults(self, batch: pa.RecordBatch) -> list[str]:
        """Returns all faults of the rows.

        Args:
            batch: All rows, as :meth:`mulan.data.corpus.index_columns.IndexColumns.finish` returns them.
        """
        faults = [
            f"{count} recordings {fault} ({', '.join(self._names[fault])}{', ...' if count > _NAMED else ''})"
            for fault, count in self._counts.items()
            if count
        ]
        if self._bad_ranges:
            faults.append("further_ranges has negative, too large or empty ranges")
        if "fields" in batch.schema.names:
            faults += [f"fields has {fault}" for fault in _invalid_fields(batch["fields"].dictionary.to_pylist())]
        if repeated := _repeated(batch["recording_id"], self._repeated_hashes()):
            examples = ", ".join(sorted(repeated)[:_NAMED])
            faults.append(f"{len(repeated)} recording ids occur more than once ({examples})")
        if not self._rows:
            faults.append("the index has no rows")
        return faults

    def _repeated_hashes(self) -> np.ndarray:
        hashes = self._id_hashes[: self._rows]
        hashes.sort()  # in place: they are many
        return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def converted(batch: pa.RecordBatch, names: Iterable[str]) -> pa.RecordBatch:
    """Returns a batch with these columns in the types that the checks and the columns of an opened index take.

    Texts that repeat stay or become coded; the codes of each batch are its own.

    Raises:
        pyarrow.ArrowException: A column has another type.
    """
    arrays = []
    for name in names:
        array, kind = batch[name], OPENED_SCHEMA.field(name).type
        if name == "sources":
            array = array.cast(pa.list_(pa.string()))
        elif name == "tags":
            array = array if array.type == pa.list_(CODED) else array.cast(pa.list_(pa.string()))
        elif isinstance(kind, pa.DictionaryType):
            coded = array if isinstance(array, pa.DictionaryArray) else array.cast(pa.string()).dictionary_encode()
            array = coded.cast(CODED)
        elif name == "recording_id":
            array = array.cast(pa.string())
        else:
            array = array.cast(kind)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, list(names))


def text_hashes(array: pa.Array) -> np.ndarray:
    """Returns a 64-bit hash of each text of a string or large-string array, uint64 [n]."""
    offsets, content = text_content(array)
    padded = np.concatenate([content[offsets[0] : offsets[-1]], np.zeros(8, np.uint8)])
    starts, lengths = offsets[:-1] - offsets[0], np.diff(offsets)
    words = np.ndarray(len(padded) - 7, "<u8", buffer=padded, strides=(1,))  # the eight bytes from each position
    hashes = mix(lengths.astype(np.uint64))
    rows = np.flatnonzero(lengths)
    while len(rows):
        left = lengths[rows]
        unused = np.maximum(8 - left, 0).astype(np.uint64) * np.uint64(8)
        hashes[rows] = mix(hashes[rows] ^ (words[starts[rows]] << unused))
        starts[rows] += 8
        lengths[rows] -= 8
        rows = rows[left > 8]
    return hashes


def _repeated(ids: pa.Array, hashes: np.ndarray) -> set[str]:
    """Returns the ids that occur more than once.

    Args:
        ids: All ids.
        hashes: The hashes that occur more than once, in ascending order.
    """
    seen: set[str] = set()
    repeated: set[str] = set()
    for start in range(0, len(ids) if len(hashes) else 0, _BLOCK):
        block = ids.slice(start, _BLOCK)
        for name in block.filter(pa.array(np.isin(text_hashes(block), hashes))).to_pylist():
            (repeated if name in seen else seen).add(name)
    return repeated


def _has_nulls(array: pa.Array) -> bool:
    return bool(array.null_count or (pa.types.is_list(array.type) and array.flatten().null_count))


def _invalid_fields(texts: Iterable[str]) -> list[str]:
    faults = []
    for text in texts:
        try:
            if text:
                Fields.from_json(text)
        except (ValueError, RecursionError) as error:
            faults.append(f"{text!r:.80}: {error}")
    return faults[:_NAMED]
