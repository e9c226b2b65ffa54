"""Tests the rows of Parquet and Arrow files against files that pyarrow and Hugging Face's datasets write."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from mulan.preparation.columnar import ColumnarReader, DamagedTable
from mulan.preparation.sources.columnar_rows import AudioColumn, audio_column, audio_name, columnar_rows
from tests.preparation.tables import FORMATS, audio_table, write_table


def column_of(path: str, chosen: str = "") -> AudioColumn | None:
    with ColumnarReader(path) as reader:
        return audio_column(reader, chosen)


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_do_not_contain_audio(kind: str, tmp_path: Path) -> None:
    table = audio_table(
        [b"first", b"second", None],
        caption=["a", None, "c"],
        tags=[["x", "y"], [], None],
        meta=[{"year": 1999}, None, {"year": 2001}],
        embedding=[[0.5, 1.0]] * 3,
        image=[b"picture"] * 3,
    )
    path = write_table(table, tmp_path, kind, rows=2)
    column = column_of(path)
    assert column == AudioColumn("audio", ("audio", "path"), True)
    assert list(columnar_rows(path, column)) == [
        (0, {"caption": "a", "tags": ["x", "y"], "meta": {"year": 1999}}, "000.wav"),
        (1, {"caption": None, "tags": [], "meta": None}, "001.wav"),
        (2, {"caption": "c", "tags": None, "meta": {"year": 2001}}, None),
    ]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("others", [{}, {"caption": ["a", "b", "c"]}])
def test_audio_of_plain_bytes(kind: str, others: dict[str, Any], tmp_path: Path) -> None:
    path = write_table(pa.table({"Audio": [b"x", b"y", b"z"], **others}), tmp_path, kind, rows=2)
    column = column_of(path)
    assert column == AudioColumn("Audio", None, True)
    expected = [(index, {name: values[index] for name, values in others.items()}, None) for index in range(3)]
    assert list(columnar_rows(path, column)) == expected


def test_which_column_has_the_audio(tmp_path: Path) -> None:
    both = audio_table([b"x"], path=["a.wav"], clip=[{"bytes": b"y", "path": "b"}])
    path = write_table(both, tmp_path, "parquet", rows=1)
    assert column_of(path) == AudioColumn("audio", ("audio", "path"), True)
    assert column_of(path, "clip") == AudioColumn("clip", ("clip", "path"), True)
    assert column_of(path, "path") == AudioColumn("path", ("path",), False)
    assert column_of(path, "sound") is None
    only_paths = write_table(audio_table([None, None]), tmp_path, "parquet", rows=1, name="paths")
    assert column_of(only_paths) == AudioColumn("audio", ("audio", "path"), False)
    none = write_table(pa.table({"caption": ["a"]}), tmp_path, "parquet", rows=1, name="none")
    assert column_of(none) is None
    assert [audio_name(["File", "PATH"], chosen) for chosen in ("", "file", "x")] == ["PATH", "File", None]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_types_of_hugging_face_are_understood(kind: str, tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "image": datasets.Image(decode=False),
            "song": datasets.Audio(decode=False),
            "genre": datasets.ClassLabel(names=["jazz", "rock"]),
            "mood": datasets.Sequence(datasets.ClassLabel(names=["calm", "tense"])),
        }
    )
    rows = {
        "image": [{"bytes": b"picture", "path": None}] * 2,
        "song": [{"bytes": b"x", "path": "a.wav"}, {"bytes": b"y", "path": "b.wav"}],
        "genre": [1, -1],
        "mood": [[0, 1], []],
    }
    dataset = datasets.Dataset.from_dict(rows).cast(features)
    if kind == "parquet":
        path = str(tmp_path / "data.parquet")
        dataset.to_parquet(path)
    else:
        dataset.save_to_disk(str(tmp_path))
        path = str(next(tmp_path.glob("*.arrow")))
    column = column_of(path)
    assert column == AudioColumn("song", ("song", "path"), True)
    found = [(row, values["genre"], values["mood"], name) for row, values, name in columnar_rows(path, column)]
    assert found == [(0, "rock", ["calm", "tense"], "a.wav"), (1, None, [], "b.wav")]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_text_in_another_encoding_is_named(kind: str, tmp_path: Path) -> None:
    latin = pa.array([b"plain", b"caf\xe9", b"plain"])
    for name in ("path", "caption"):
        columns = {"path": pa.array(["a.wav", "b.wav", "c.wav"]), "caption": pa.array(["x", "y", "z"])}
        columns[name] = pa.Array.from_buffers(pa.string(), 3, latin.buffers())
        path = write_table(pa.table(columns), tmp_path, kind, rows=2)
        column = column_of(path)
        assert column is not None
        with pytest.raises(DamagedTable, match=f"column {name} has a text that is not UTF-8 in rows 0 to [12]: "):
            list(columnar_rows(path, column))
