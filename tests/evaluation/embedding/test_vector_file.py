"""Files of vectors are read by others too, and damage is named."""

import json
import resource
from pathlib import Path

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
    read_vector_file,
    write_vector_file,
)
from mulan.evaluation.recordings import EmbeddedRecordings, LabelledRecording
from mulan.storage.errors import StorageError
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
    file = read_vector_file(uri, is_unit=True)
    assert file.computed_from == {"encoder": "stub"}
    again = file.result
    np.testing.assert_array_equal(again.embedded.windows, embedded.embedded.windows)
    np.testing.assert_array_equal(again.embedded.starts, embedded.embedded.starts)
    assert again.embedded.recordings == embedded.embedded.recordings
    assert again.skipped == embedded.skipped and len(again.skipped) == 2


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path, embedded: CorpusEmbeddings) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # a write beyond it fails, as on a full disk
    try:
        with pytest.raises(StorageError, match=r"mulan-vectors-.* cannot be written: "):
            write_vector_file(str(tmp_path / "vectors.parquet"), "test", embedded, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_many_recordings_has_the_vectors_of_each(tmp_path: Path) -> None:
    recordings = tuple(LabelledRecording(f"{row:05d}", "train", texts={}) for row in range(2500))
    starts = np.concatenate([[0], np.cumsum(np.arange(2500) % 3 + 1)])
    windows = np.random.default_rng(0).normal(size=(starts[-1], 5)).astype(np.float32)
    uri = str(tmp_path / "many.parquet")
    write_vector_file(uri, "train", CorpusEmbeddings(EmbeddedRecordings(recordings, windows, starts, False), {}), {})
    found = read_vector_file(uri, is_unit=False).result.embedded
    np.testing.assert_array_equal(found.windows, windows)
    np.testing.assert_array_equal(found.starts, starts)
    assert found.recordings == recordings


def test_a_split_of_which_all_recordings_were_skipped_is_kept(tmp_path: Path) -> None:
    nothing = EmbeddedRecordings((), np.zeros((0, 5), np.float32), np.zeros(1, np.int64), True)
    uri = str(tmp_path / "none.parquet")
    write_vector_file(uri, "train", CorpusEmbeddings(nothing, {"a": "truncated audio"}), {})
    found = read_vector_file(uri, is_unit=True).result
    assert (found.embedded.windows.shape, dict(found.skipped)) == ((0, 5), {"a": "truncated audio"})


def test_pandas_reads_the_vectors(uri: str, embedded: CorpusEmbeddings) -> None:
    frame = pandas.read_parquet(uri)
    assert list(frame.columns) == ["recording_id", "split", "embedding", "labels"]
    assert list(frame.recording_id) == [each.recording_id for each in embedded.embedded.recordings]
    np.testing.assert_array_equal(
        np.concatenate([np.stack(vectors) for vectors in frame.embedding]), embedded.embedded.windows
    )
    assert json.loads(frame.labels.iloc[0])["tags"] == list(embedded.embedded.recordings[0].tags)
    assert set(frame.split) == {"test"}


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    uri = str(tmp_path / "others.parquet")
    pq.write_table(pa.table({"recording_id": ["a"], "embedding": [[1.0]]}), uri)
    with pytest.raises(UnusableVectorFile, match="is no file of vectors"):
        read_vector_file(uri, is_unit=True)


def test_damage_is_named(uri: str, tmp_path: Path) -> None:
    content = Path(uri).read_bytes()
    Path(uri).write_bytes(content[: len(content) // 2])
    with pytest.raises(UnusableVectorFile, match="is no file of vectors, or is damaged"):
        read_vector_file(uri, is_unit=True)
    Path(uri).write_bytes(content)
    place = vectors_start(uri) + 50
    Path(uri).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(UnusableVectorFile, match="is no file of vectors, or is damaged"):
        read_vector_file(uri, is_unit=True)
    with pytest.raises(UnusableVectorFile, match="cannot be read: No such file"):
        read_vector_file(str(tmp_path / "none.parquet"), is_unit=True)
