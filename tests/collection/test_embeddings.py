"""Tests of the files of embeddings: what is written is read, and what is not such a folder is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.collection.embeddings import (
    CollectionEmbeddings,
    Dtype,
    EmbeddingModel,
    EmbeddingsError,
    Manifest,
    part_name,
    part_schema,
    part_table,
    write_manifest,
    write_part,
)

DIM = 4


def columns(first: int, count: int) -> dict[str, Any]:
    """Returns recordings of these numbers, each with as many windows as the remainder of its number by 3, and one."""
    generator = np.random.default_rng(first)
    numbers = range(first, first + count)
    return {
        "recording_id": [f"r{number:04d}" for number in numbers],
        "uri": [f"/music/{number}.wav" for number in numbers],
        "offset": [0] * count,
        "length": [100 + number for number in numbers],
        "extension": ["wav"] * count,
        "start_s": [0.0] * count,
        "duration_s": [1.5] * count,
        "title": ["é"] * count,
        "artist": [""] * count,
        "tags": [["genre:rock"] * (number % 2) for number in numbers],
        "waveform": [bytes([number % 256]) * 200 for number in numbers],
        "embedding": generator.standard_normal((count, DIM)).astype(np.float32),
        "windows": [generator.standard_normal((1 + number % 3, DIM)).astype(np.float32) for number in numbers],
        "window_starts_s": [[0.5 * start for start in range(1 + number % 3)] for number in numbers],
    }


def model() -> EmbeddingModel:
    return EmbeddingModel(
        name="m", uri="/m", sha256="ab", sample_rate_hz=16_000, window_samples=16_000, dim=DIM, is_unit=True,
        embeds_text=True,
    )  # fmt: skip


def write(folder: Path, *, dtype: Dtype = "float32", windows: bool = True, **changes: Any) -> list[dict[str, Any]]:
    """Writes 600 recordings in two parts, and returns the columns of the parts."""
    parts = [columns(0, 400), columns(400, 200)]
    names = [part_name(f"{number:02x}") for number in range(2)]
    for name, part in zip(names, parts, strict=True):
        write_part(str(folder), name, part_table(part, part_schema(DIM, dtype, windows=windows)))
    stated = {
        "model": model(), "dtype": dtype, "windows": windows, "recordings": 600, "parts": names,
        "skipped": {"damaged audio": 1}, **changes,
    }  # fmt: skip
    skipped = [{"recording_id": "bad", "uri": "/music/bad.wav", "reason": "damaged audio", "detail": "why"}]
    write_manifest(str(folder), Manifest(**stated), skipped)
    return parts


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("windows", [True, False])
def test_rows_are_read_as_they_were_written(tmp_path: Path, dtype: Dtype, windows: bool) -> None:
    parts = write(tmp_path, dtype=dtype, windows=windows)
    found = CollectionEmbeddings.open(str(tmp_path))
    assert (found.model, found.dtype, found.has_windows, found.count) == (model(), dtype, windows, 600)
    table = pa.Table.from_batches(found.batches(), found.schema)
    for name in table.column_names:
        expected = [value for part in parts for value in part[name]]
        if name in ("embedding", "windows"):
            assert all(
                np.array_equal(np.array(one, dtype), np.asarray(other, dtype))
                for one, other in zip(table[name].to_pylist(), expected, strict=True)
            )
        else:
            assert table[name].to_pylist() == expected
    assert max(batch.num_rows for batch in found.batches()) <= 256


def test_skipped_recordings_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    assert pq.read_table(tmp_path / "skipped.parquet").to_pylist() == [
        {"recording_id": "bad", "uri": "/music/bad.wav", "reason": "damaged audio", "detail": "why"}
    ]


def refusal(folder: Path) -> str:
    with pytest.raises(EmbeddingsError) as caught:
        list(CollectionEmbeddings.open(str(folder)).batches())
    return str(caught.value)


def test_missing_and_unfinished_folders_are_refused(tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(tmp_path / "none")
    write(tmp_path)
    (tmp_path / "embeddings.json").unlink()
    assert "unfinished" in refusal(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    assert "there is no embeddings.json in it" in refusal(tmp_path / "other")


def test_another_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    stated = json.loads((tmp_path / "embeddings.json").read_text())
    (tmp_path / "embeddings.json").write_text(json.dumps({**stated, "format": "mulan-embeddings-v9"}))
    assert "'mulan-embeddings-v9', and this version reads mulan-embeddings-v1" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path)
    (tmp_path / "embeddings.json").write_text(text)
    assert "embeddings.json" in refusal(tmp_path)


def test_all_faults_of_a_manifest_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    stated = json.loads((tmp_path / "embeddings.json").read_text())
    (tmp_path / "embeddings.json").write_text(json.dumps({**stated, "dtype": "int8", "parts": ["../a"]}))
    message = refusal(tmp_path)
    assert "dtype" in message
    assert "parts" in message


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "part-01.parquet").unlink()
    assert "lacks part-01.parquet" in refusal(tmp_path)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "part-00.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "part-00.parquet is missing or damaged" in refusal(tmp_path)
    path.write_bytes(b"")
    assert "part-00.parquet is missing or damaged" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("title", pa.array([None] * 200, pa.string()), "nulls, or numbers that are not finite, in title"),
        ("tags", pa.array([[None]] * 200, pa.list_(pa.string())), "not finite, in tags"),
        ("duration_s", pa.array([np.nan] * 200), "not finite, in duration_s"),
        ("window_starts_s", pa.array([[]] * 200, pa.list_(pa.float64())), "another number of windows"),
        ("recording_id", pa.array(["r0001"] * 200), "ids do not ascend"),
        ("length", pa.array([1.0] * 200), "of another type: length"),
    ],
)
def test_a_part_with_other_values_is_refused(tmp_path: Path, column: str, values: pa.Array, message: str) -> None:
    write(tmp_path)
    path = tmp_path / "part-01.parquet"
    table = pq.read_table(path)
    table = table.set_column(table.column_names.index(column), column, values)
    pq.write_table(table, path)
    assert message in refusal(tmp_path)
    pq.write_table(table.drop_columns(column), path)
    assert f"columns are missing or of another type: {column}" in refusal(tmp_path)


def test_vectors_of_another_size_or_type_are_refused(tmp_path: Path) -> None:
    for number, changes in enumerate(({"dtype": "float16"}, {"model": model().replace(dim=5)})):
        write(tmp_path / str(number))
        stated = json.loads((tmp_path / str(number) / "embeddings.json").read_text())
        stated |= {name: value if isinstance(value, str) else value.model_dump() for name, value in changes.items()}
        (tmp_path / str(number) / "embeddings.json").write_text(json.dumps(stated))
        assert "of another type: embedding, windows" in refusal(tmp_path / str(number))


def test_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, recordings=601)
    assert "has 600 recordings and states 601" in refusal(tmp_path)


def test_a_part_may_be_empty(tmp_path: Path) -> None:
    write_part(str(tmp_path), part_name("00"), part_table(columns(0, 0), part_schema(DIM, "float32", windows=True)))
    write_manifest(
        str(tmp_path),
        Manifest(model=model(), dtype="float32", windows=True, recordings=0, parts=("part-00.parquet",), skipped={}),
    )
    assert list(CollectionEmbeddings.open(str(tmp_path)).batches()) == []
