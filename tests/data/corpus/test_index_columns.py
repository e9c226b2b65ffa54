"""Tests that columns which are built in batches equal the rows, and how much memory they need."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mulan.data.corpus.index_columns import OPENED_SCHEMA, IndexColumns, NewBuffer, text_content

ROWS = {
    "recording_id": pa.array(["a", "", "ü" * 9, "d"]),
    "uri": pa.array(["0.tar", "1.tar", "0.tar", "2.tar"]),
    "offset": pa.array([0, 2**40, 5, 7]),
    "length": pa.array([1, 2, 3, 4]),
    "duration_s": pa.array([0.1, 1e9, 3.5, 2.0]),
    "split": pa.array(["train", "test", "train", "train"]),
    "sources": pa.array([["x", "y"], [], ["y"], ["x", "y"]], pa.list_(pa.string())),
    "tags": pa.array([[], ["t"], ["t", "u"], ["夜"]], pa.list_(pa.string())),
    "fields": pa.array(["", "{}", "", ""]),
    "further_ranges": pa.array([[], [1, 2], [], [3, 4, 5, 6]], pa.list_(pa.int64())),
}


@pytest.fixture(params=["memory", "files"])
def new_buffer(request: pytest.FixtureRequest, tmp_path: Path) -> NewBuffer:
    return (lambda _: io.BytesIO()) if request.param == "memory" else lambda name: (tmp_path / name).open("w+b")


def test_columns_of_batches_equal_the_rows(new_buffer: NewBuffer) -> None:
    batch = pa.RecordBatch.from_pydict(ROWS)
    columns = IndexColumns(OPENED_SCHEMA.names, new_buffer)
    for start, stop in ((0, 1), (1, 1), (1, 4)):  # also an empty one, and one that begins within its buffers
        columns.append(batch.slice(start, stop - start))
    built = columns.finish()
    built.validate(full=True)
    assert built.schema == OPENED_SCHEMA
    assert built.to_pydict() == batch.to_pydict()
    assert built["uri"].indices.to_pylist() == [0, 1, 0, 2]
    assert built["sources"].indices.to_pylist() == [0, 1, 2, 0]


def test_dictionaries_of_batches_are_joined(new_buffer: NewBuffer) -> None:
    names = ["uri", "tags"]
    columns = IndexColumns(names, new_buffer)
    for values in (["b", "a"], ["a", "c"]):
        coded = pa.array(values).dictionary_encode()
        lists = pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), coded)
        columns.append(pa.RecordBatch.from_arrays([coded.slice(0, 1), lists], names))
    built = columns.finish()
    assert built.to_pydict() == {"uri": ["b", "a"], "tags": [["b", "a"], ["a", "c"]]}
    assert built["tags"].flatten().dictionary.to_pylist() == ["b", "a", "c"]


def test_no_rows_are_columns_too(new_buffer: NewBuffer) -> None:
    built = IndexColumns(OPENED_SCHEMA.names, new_buffer).finish()
    built.validate(full=True)
    assert built.num_rows == 0


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_the_content_of_a_slice_is_that_of_its_texts(kind: pa.DataType) -> None:
    texts = ["a", "bc", "", "déf"]
    offsets, content = text_content(pa.array(texts, kind).slice(1))
    assert [content[a:b].tobytes().decode() for a, b in pairwise(offsets)] == texts[1:]
    assert offsets.dtype == np.int64
