"""The columns of an opened index: whatever repeats is coded by a dictionary, and every column is one piece of memory.

They are built from batches of rows into buffers, in memory or in files that are then mapped, so that the memory of the
process that builds them does not grow with the number of rows. A recording with two tags takes about 70 bytes.
"""

import io
import mmap
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

CODED = pa.dictionary(pa.int32(), pa.string())
"""A text that is one of few: its number in a list of the distinct ones."""

OPENED_SCHEMA = pa.schema(
    [
        pa.field("recording_id", pa.large_string(), nullable=False),
        pa.field("uri", CODED, nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("split", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("sources", pa.dictionary(pa.int32(), pa.list_(pa.string())), nullable=False),
        pa.field("tags", pa.large_list(CODED), nullable=False),
        pa.field("fields", CODED, nullable=False),
        pa.field("further_ranges", pa.large_list(pa.int64()), nullable=False),
    ]
)
"""The columns of :data:`mulan.data.corpus.index_rows.SCHEMA` in memory. Texts and lists have 64-bit offsets, because
the ids or tags of tens of millions of recordings exceed what 32 bits can address."""

NewBuffer = Callable[[str], BinaryIO]
"""Returns a new, empty file for a buffer, given a name for it: a file on a disk, or :class:`io.BytesIO`."""

_SEPARATOR = "\x1f"
"""What separates the items of lists that are coded as wholes: ASCII's unit separator."""


class _Builder(Protocol):
    def append(self, array: pa.Array) -> None:
        """Adds rows without nulls."""

    def finish(self) -> pa.Array:
        """Returns all rows."""


class IndexColumns:
    """The columns of an index that is being opened."""

    def __init__(self, names: Sequence[str], new_buffer: NewBuffer) -> None:
        """
        Args:
            names: Names of the columns that the index has, all of :data:`OPENED_SCHEMA`.
            new_buffer: Where the columns are built.
        """
        self._schema = pa.schema([field for field in OPENED_SCHEMA if field.name in names])
        self._columns = {field.name: _new_column(field.type, field.name, new_buffer) for field in self._schema}

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds rows without nulls: a batch with these columns, of the types of the schema or of coded texts."""
        for name, column in self._columns.items():
            column.append(batch[name])

    def finish(self) -> pa.RecordBatch:
        """Returns all rows with the columns of :data:`OPENED_SCHEMA` that the index has."""
        return pa.RecordBatch.from_arrays([column.finish() for column in self._columns.values()], schema=self._schema)


def _new_column(kind: pa.DataType, name: str, new_buffer: NewBuffer) -> _Builder:
    if isinstance(kind, pa.DictionaryType):
        return _CodedBuilder(kind, name, new_buffer)
    if isinstance(kind, pa.LargeListType):
        return _ListBuilder(kind, name, new_buffer)
    return _TextBuilder(name, new_buffer) if kind == pa.large_string() else _NumberBuilder(kind, name, new_buffer)


class _NumberBuilder:
    def __init__(self, kind: pa.DataType, name: str, new_buffer: NewBuffer) -> None:
        self._kind, self._values, self._count = kind, new_buffer(name), 0

    def append(self, array: pa.Array) -> None:
        self.append_numbers(array.to_numpy(zero_copy_only=False))

    def append_numbers(self, numbers: np.ndarray) -> None:
        self._values.write(numbers.astype(self._kind.to_pandas_dtype(), copy=False).tobytes())
        self._count += len(numbers)

    def finish(self) -> pa.Array:
        return pa.Array.from_buffers(self._kind, self._count, [None, _content(self._values)])


class _CodedBuilder:
    """A column of texts, or of short lists of texts, that repeat: the numbers of their first occurrences."""

    def __init__(self, kind: pa.DictionaryType, name: str, new_buffer: NewBuffer) -> None:
        self._kind, self._codes = kind, _NumberBuilder(kind.index_type, name, new_buffer)
        self._code_of: dict[str, int] = {}

    def append(self, array: pa.Array) -> None:
        if pa.types.is_list(self._kind.value_type):
            array = pc.binary_join(array, _SEPARATOR)
        coded = array if isinstance(array, pa.DictionaryArray) else array.dictionary_encode()
        if not len(coded):
            return
        own = np.array([self._code_of.setdefault(text, len(self._code_of)) for text in coded.dictionary.to_pylist()])
        self._codes.append_numbers(own[coded.indices.to_numpy()])

    def finish(self) -> pa.Array:
        values: list[object] = list(self._code_of)
        if pa.types.is_list(self._kind.value_type):
            values = [text.split(_SEPARATOR) if text else [] for text in self._code_of]
        return pa.DictionaryArray.from_arrays(self._codes.finish(), pa.array(values, self._kind.value_type))


class _TextBuilder:
    def __init__(self, name: str, new_buffer: NewBuffer) -> None:
        self._ends, self._bytes = _Ends(name, new_buffer), new_buffer(f"{name}.bytes")

    def append(self, array: pa.Array) -> None:
        offsets, content = text_content(array)
        self._ends.append(np.diff(offsets))
        self._bytes.write(content[offsets[0] : offsets[-1]].tobytes())

    def finish(self) -> pa.Array:
        return pa.Array.from_buffers(
            pa.large_string(), self._ends.count, [None, self._ends.finish(), _content(self._bytes)]
        )


class _ListBuilder:
    def __init__(self, kind: pa.LargeListType, name: str, new_buffer: NewBuffer) -> None:
        self._kind, self._ends = kind, _Ends(name, new_buffer)
        self._items = _new_column(kind.value_type, f"{name}.items", new_buffer)

    def append(self, array: pa.Array) -> None:
        self._ends.append(pc.list_value_length(array).to_numpy())
        self._items.append(array.flatten())

    def finish(self) -> pa.Array:
        return pa.Array.from_buffers(
            self._kind, self._ends.count, [None, self._ends.finish()], children=[self._items.finish()]
        )


class _Ends:
    """Where each text or list of a column ends in what they consist of."""

    def __init__(self, name: str, new_buffer: NewBuffer) -> None:
        self._values, self.count, self._end = new_buffer(f"{name}.offsets"), 0, 0
        self._values.write(np.zeros(1, np.int64).tobytes())

    def append(self, lengths: np.ndarray) -> None:
        ends = self._end + np.cumsum(lengths, dtype=np.int64)
        if len(ends):
            self._values.write(ends.tobytes())
            self._end = int(ends[-1])
        self.count += len(ends)

    def finish(self) -> pa.Buffer:
        return _content(self._values)


def text_content(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns the offsets of the texts of a string or large-string array in its content, int64 [n + 1], and that
    content, uint8, neither of them copied if possible."""
    is_large = array.type == pa.large_string()
    _, ends, content = array.buffers()
    offsets = np.frombuffer(ends, np.int64 if is_large else np.int32)[array.offset : array.offset + len(array) + 1]
    return offsets.astype(np.int64, copy=False), np.frombuffer(content or b"", np.uint8)


def _content(buffer: BinaryIO) -> pa.Buffer:
    """Returns what has been written to a buffer, without a copy; a file is mapped."""
    if isinstance(buffer, io.BytesIO):
        return pa.py_buffer(buffer.getbuffer())
    buffer.flush()
    empty = buffer.tell() == 0
    return pa.py_buffer(b"" if empty else mmap.mmap(buffer.fileno(), 0, access=mmap.ACCESS_READ))
