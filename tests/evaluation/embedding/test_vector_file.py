"""Files of vectors are read by others, files of others are read, and damage is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.embedding.vector_file import (
    UnusableVectorFile,
    embeddings_of,
    read_vector_file,
    write_vector_file,
)
from tests.evaluation.embedding.parquet_places import vectors_start
from tests.evaluation.embedding.stub_encoder import StubEncoder


@pytest.fixture(scope="module")
def embedded(damaged: Corpus) -> CorpusEmbeddings:
    return embed_here(StubEncoder(), damaged, ["test"], max_skipped_share=1)


@pytest.fixture
def uri(tmp_path: Path, embedded: CorpusEmbeddings) -> str:
    uri = str(tmp_path / "folder" / "vectors.parquet")
    write_vector_file(uri, "test", embedded, {"encoder": "stub"})
    return uri


def test_what_is_written_is_read_again(uri: str, embedded: CorpusEmbeddings) -> None:
    file = read_vector_file(uri)
    assert file.computed_from == {"encoder": "stub"}
    assert len(file.recording_ids) == 14
    again = embeddings_of(file, is_unit=True)
    np.testing.assert_array_equal(again.embedded.windows, embedded.embedded.windows)
    np.testing.assert_array_equal(again.embedded.starts, embedded.embedded.starts)
    assert again.embedded.recordings == embedded.embedded.recordings
    assert again.skipped == embedded.skipped


def test_pandas_reads_the_vectors(uri: str, embedded: CorpusEmbeddings) -> None:
    frame = pandas.read_parquet(uri)
    assert list(frame.columns) == ["recording_id", "split", "windows", "labels", "reason"]
    good = frame[frame.reason == ""]
    assert list(good.recording_id) == [each.recording_id for each in embedded.embedded.recordings]
    np.testing.assert_array_equal(
        np.concatenate([np.stack(windows) for windows in good.windows]), embedded.embedded.windows
    )
    assert json.loads(good.labels.iloc[0])["tags"] == list(embedded.embedded.recordings[0].tags)
    assert set(frame.split) == {"test"}


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_files_of_others_have_one_vector_or_several(tmp_path: Path, kind: pa.DataType) -> None:
    uri = str(tmp_path / "others.parquet")
    rows = np.array([[1.0, 0.5], [0.25, 2.0], [4.0, -1.0]])
    values = [list(map(kind.to_pandas_dtype(), row)) for row in rows]
    pq.write_table(pa.table({"recording_id": ["b", "a", "c"], "embedding": pa.array(values, pa.list_(kind))}), uri)
    file = read_vector_file(uri)
    assert (file.recording_ids, file.starts.tolist(), file.computed_from) == (("b", "a", "c"), [0, 1, 2, 3], {})
    np.testing.assert_array_equal(file.windows, rows.astype(np.float32))
    nested = pa.array([values[:2], values[2:]], pa.list_(pa.list_(kind)))
    pq.write_table(pa.table({"recording_id": [7, 8], "windows": nested, "title": ["x", "y"]}), uri)
    file = read_vector_file(uri)
    assert (file.recording_ids, file.starts.tolist()) == (("7", "8"), [0, 2, 3])
    assert file.table["title"].to_pylist() == ["x", "y"]


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"id": ["a"], "embedding": [[1.0]]}, "has the columns id, embedding; recording_id is needed"),
        ({"recording_id": ["a"]}, "recording_id is needed, and windows"),
        ({"recording_id": ["a", "b"], "embedding": [[1.0], [1.0, 2.0]]}, "vectors have different sizes, such as 1, 2"),
        ({"recording_id": ["a", "a"], "embedding": [[1.0], [2.0]]}, "1 values of recording_id are repeated"),
        ({"recording_id": ["a"], "embedding": [[float("nan")]]}, "finite"),
        ({"recording_id": ["a"], "embedding": [[None]]}, "cannot be used"),
        ({"recording_id": ["a", "b"], "embedding": [[1.0], None]}, "vectors are missing"),
        ({"recording_id": ["a"], "embedding": [[1]]}, "finite floating-point numbers"),
        ({"recording_id": ["a"], "embedding": ["1.0"]}, "cannot be used"),
        ({"recording_id": ["a"], "windows": [[1.0]]}, "cannot be used"),
    ],
)
def test_files_without_vectors_are_refused(tmp_path: Path, columns: dict[str, Any], fault: str) -> None:
    uri = str(tmp_path / "others.parquet")
    pq.write_table(pa.table(columns), uri)
    with pytest.raises(UnusableVectorFile, match=f"{uri} .*{fault}"):
        read_vector_file(uri)


def test_damage_is_named(uri: str, tmp_path: Path) -> None:
    content = Path(uri).read_bytes()
    Path(uri).write_bytes(content[: len(content) // 2])
    with pytest.raises(UnusableVectorFile, match="is not a Parquet file, or is damaged"):
        read_vector_file(uri)
    Path(uri).write_bytes(content)
    place = vectors_start(uri) + 50
    Path(uri).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(UnusableVectorFile, match="is not a Parquet file, or is damaged"):
        read_vector_file(uri)
    with pytest.raises(UnusableVectorFile, match="cannot be read: No such file"):
        read_vector_file(str(tmp_path / "none.parquet"))
