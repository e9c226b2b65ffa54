"""Tests that stored vectors are those of the files, and that what is wrong with files is reported at once."""

import pickle
import uuid
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.config.errors import MulanError
from mulan.evaluation.encoders.stored import StoredEncoder, StoredVectorsError
from mulan.evaluation.recordings import LabelledRecording

D = 4


def write(path: Path, column: str, keys: list[Any], vectors: Any, kind: pa.DataType | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = pa.array(keys, None if keys else pa.string())
    pq.write_table(pa.table({column: ids, "embedding": pa.array(vectors, kind), "further": [1] * len(keys)}), path)
    return path


def opened(path: Path | str) -> StoredEncoder:
    return StoredEncoder.open(str(path), name="stored", device="cpu")


def recordings(*ids: str) -> list[LabelledRecording]:
    return [LabelledRecording(each, "test") for each in ids]


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


KINDS = {
    "float64": pa.list_(pa.float64()),
    "float32": pa.list_(pa.float32()),
    "large": pa.large_list(pa.float32()),
    "fixed": pa.list_(pa.float32(), D),
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_vector_for_each_recording(kind: str, tmp_path: Path) -> None:
    vectors = drawn(3, D).astype(np.float32)
    encoder = opened(write(tmp_path / "v.parquet", "recording_id", ["c", "a", "b"], vectors.tolist(), KINDS[kind]))
    info = encoder.info
    assert (info.name, info.kind, info.uri, info.dim) == ("stored", "parquet", str(tmp_path / "v.parquet"), D)
    assert not (info.embeds_audio or info.embeds_text or info.is_unit)
    assert encoder.recording_ids == ("c", "a", "b")
    embedded = encoder.embedded(recordings("c", "b"))
    assert [each.recording_id for each in embedded.recordings] == ["b", "c"]
    np.testing.assert_array_equal(embedded.windows, vectors[[2, 0]])
    np.testing.assert_array_equal(embedded.means, vectors[[2, 0]])
    assert embedded.windows.dtype == np.float32


@pytest.mark.parametrize("kind", [pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float64(), D))])
def test_several_vectors_for_each_recording_in_several_row_groups_and_files(kind: pa.DataType, tmp_path: Path) -> None:
    rows = {f"rec-{number}": drawn(9, D)[: 1 + number * 3 % 5] + number for number in range(7)}
    for part, names in enumerate((list(rows)[:4], list(rows)[4:])):
        table = pa.table({"recording_id": names, "embedding": pa.array([rows[name].tolist() for name in names], kind)})
        pq.write_table(table, tmp_path / f"part-{part}.parquet", row_group_size=2)
    encoder, wanted = opened(tmp_path), ["rec-5", "rec-0", "rec-3", "rec-4"]
    embedded = encoder.embedded(recordings(*wanted))
    assert embedded.starts.tolist() == np.cumsum([0, *(len(rows[name]) for name in sorted(wanted))]).tolist()
    for name, start, end in zip(sorted(wanted), embedded.starts, embedded.starts[1:], strict=False):
        np.testing.assert_array_equal(embedded.windows[start:end], rows[name].astype(np.float32))
    np.testing.assert_allclose(embedded.means[0], rows["rec-0"].mean(axis=0), rtol=1e-6)


def test_with_texts_all_vectors_are_normalised(tmp_path: Path) -> None:
    audio, text = drawn(5, D)[:3], drawn(5, D)[3:] * 7
    write(tmp_path / "audio.parquet", "recording_id", ["a", "b"], [audio[:2].tolist(), audio[2:].tolist()])
    write(tmp_path / "texts" / "0.pq", "text", ["piano", "drums"], text.tolist())
    encoder = opened(tmp_path)
    assert encoder.info.is_unit and encoder.info.embeds_text and not encoder.info.embeds_audio
    rows = encoder.embed_text(["drums", "piano", "drums"])
    np.testing.assert_allclose(rows, text[[1, 0, 1]] / np.linalg.norm(text[[1, 0, 1]], axis=1, keepdims=True), 1e-6)
    embedded, unit = encoder.embedded(recordings("a", "b")), audio / np.linalg.norm(audio, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded.windows, unit, rtol=1e-6)
    mean = unit[:2].mean(axis=0)
    np.testing.assert_allclose(embedded.means[0], mean / np.linalg.norm(mean), rtol=1e-5)
    with pytest.raises(StoredVectorsError, match="1 of 2 texts have no vector: 'guitar'"):
        encoder.embed_text(["guitar", "piano"])
    with pytest.raises(MulanError, match="it embeds no audio"):
        encoder.embed_audio(np.zeros((1, 0), np.int16))


def test_recordings_without_vectors_are_listed(tmp_path: Path) -> None:
    encoder = opened(write(tmp_path / "v.parquet", "recording_id", ["a"], [[1.0] * D]))
    wanted = recordings("a", *(f"rec-{number:02d}" for number in range(30)))
    with pytest.raises(StoredVectorsError, match=r"30 of 31 recordings have no vector: 'rec-00', .*'rec-19' and 10 mo"):
        encoder.embedded(wanted)
    with pytest.raises(StoredVectorsError, match="there is no file with the columns text and embedding"):
        encoder.embed_text(["piano"])


def test_files_in_other_storage_have_the_same_digest(tmp_path: Path) -> None:
    write(tmp_path / "a" / "v.parquet", "recording_id", ["a", "b"], drawn(2, D).tolist())
    uri = f"memory://{uuid.uuid4().hex}/vectors"
    fsspec.filesystem("memory").put(f"{tmp_path}/", f"{uri}/", recursive=True)
    local, remote, file = opened(tmp_path), opened(uri), opened(f"{uri}/a/v.parquet")
    assert local.info.sha256 == remote.info.sha256
    for other in (remote, file):
        np.testing.assert_array_equal(other.embedded(recordings("b")).windows, local.embedded(recordings("b")).windows)
    write(tmp_path / "a" / "v.parquet", "recording_id", ["a", "b"], (drawn(2, D) * 2).tolist())
    assert opened(tmp_path).info.sha256 != local.info.sha256


@pytest.mark.parametrize(
    ("keys", "vectors", "faults"),
    [
        (["a", "b", "a", "b", "c"], [[1.0] * D] * 5, ["the recording 'a' occurs", "the recording 'b' occurs several"]),
        (["a", None, ""], [[1.0] * D] * 3, ["2 rows have no recording_id"]),
        (["a", "b", "c"], [[1.0] * D, [1.0] * 3, [1.0] * D], ["'b' has a vector of 3 values, but most have 4"]),
        (["a", "b"], [[[1.0] * D] * 2, [[1.0] * D, [1.0]]], ["'b' has a vector of 1 values, but most have 4"]),
        (["a", "b", "c"], [[1.0] * D, None, []], ["'b' has no vector", "'c' has a vector of 0 values"]),
        (["a", "b", "c"], [[[1.0] * D], None, []], ["'b' has no vector", "'c' has no vector"]),
        (["a", "b"], [[[1.0] * D], [None]], ["'b' has a vector of 0 values"]),
        (["a", "b"], [[1.0] * D, [1.0, None, 1.0, 1.0]], ["'b' has values that are missing, NaN or infinite"]),
        (["a", "b"], [[1.0, np.nan, 1, 1], [1, 1, 1, np.inf]], ["'a' has values that", "'b' has values that"]),
        (["a", "b"], [[1.0, 1e300, 1, 1], [1.0] * D], ["'a' has values that are missing, NaN or infinite"]),
        (["a", "b"], [[0.0] * D, [1.0] * D], ["'a' has a vector of zeros"]),
        (["a", "b"], [[[1.0] * D, [0.0] * D], [[1.0] * D]], ["'a' has a vector of zeros"]),
        (["a", "b"], [[[]], [[], []]], ["the vectors of all recordings are empty"]),
        ([], [], ["there is no recording in the files"]),
        ([1, 2], [[1.0] * D] * 2, ["the column recording_id has the type int64, not string"]),
        (["a"], [[1, 2]], [r"the column embedding has the type list<\w+: int64>, not lists of floating"]),
        (["a"], ["0.1 0.2"], ["the column embedding has the type string"]),
        ([3], [1.5], ["has the type int64, not string", "has the type double, not lists of floating"]),
    ],
)
def test_what_is_wrong_with_vectors_is_reported_at_once(
    keys: list[Any], vectors: list[Any], faults: list[str], tmp_path: Path
) -> None:
    kinds = {"[]": pa.list_(pa.float32()), "[[[]], [[], []]]": pa.list_(pa.list_(pa.float32()))}
    kind = kinds.get(str(vectors))  # pyarrow infers that of values
    path = write(tmp_path / "v.parquet", "recording_id", keys, vectors, kind)
    with pytest.raises(StoredVectorsError) as caught:
        opened(path)
    for fault in faults:
        assert caught.match(fault)
    assert len(caught.value.faults) == len(faults)
    assert str(path) in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_folder_with_the_files_of_several_encoders_is_named_as_such(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write(tmp_path / f"{name}-test.parquet", "recording_id", ["b", "a"], [[1.0] * D] * 2)
        write(tmp_path / f"{name}-train.parquet", "recording_id", [name], [[1.0] * D])
    message = (
        r"several files have the same recordings, such as 'a': name one of them, or a folder with the files of one"
    )
    with pytest.raises(StoredVectorsError, match=message) as caught:
        opened(tmp_path)
    assert len(caught.value.faults) == 1


def test_what_is_wrong_with_files_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path / "good.parquet", "recording_id", ["a"], [[1.0] * D])
    write(tmp_path / "texts.parquet", "text", ["piano"], [[1.0] * 5])
    with pytest.raises(StoredVectorsError, match="of recordings have 4 values, but those of texts 5"):
        opened(tmp_path)
    write(tmp_path / "texts.parquet", "text", ["piano"], [[[1.0] * D, [2.0] * D]])
    write(tmp_path / "other.parquet", "id", ["a"], [[1.0] * D])
    (tmp_path / "damaged.parquet").write_bytes((tmp_path / "good.parquet").read_bytes()[:-7])
    (tmp_path / "empty.parquet").write_bytes(b"")
    pq.write_table(pa.table({"recording_id": ["b"], "text": ["x"], "embedding": [[1.0]]}), tmp_path / "both.parquet")
    (tmp_path / "README.md").write_text("-")
    with pytest.raises(StoredVectorsError) as caught:
        opened(tmp_path)
    for fault in (
        "other.parquet has the columns id, embedding, further, but needs either recording_id or text, and embedding",
        "damaged.parquet is no Parquet file, or is damaged",
        "empty.parquet is no Parquet file, or is damaged",
        "both.parquet has the columns recording_id, text, embedding, but needs either",
        "the text 'piano' has several vectors",
    ):
        assert caught.match(fault)
    assert len(caught.value.faults) == 5


def test_folders_without_vectors(tmp_path: Path) -> None:
    with pytest.raises(StoredVectorsError, match="there is no such file or folder"):
        opened(tmp_path / "nowhere")
    with pytest.raises(StoredVectorsError, match="there are no Parquet files in the folder"):
        opened(tmp_path)
    write(tmp_path / "texts.parquet", "text", ["piano"], [[1.0] * D])
    with pytest.raises(StoredVectorsError, match="there are no vectors of recordings"):
        opened(tmp_path)
    with pytest.raises(MulanError, match="nosuchscheme"):
        opened("nosuchscheme://bucket/vectors")


def test_messages_are_bounded(tmp_path: Path) -> None:
    path = write(tmp_path / "v.parquet", "recording_id", [f"rec-{n}" for n in range(500)], [[0.0] * D] * 500)
    with pytest.raises(StoredVectorsError, match="and 480 more") as caught:
        opened(path)
    assert str(caught.value).count("has a vector of zeros") == 20
