"""Tests the recordings of rows; what a row says is tested in tests/data/corpus/test_fields.py."""

import re
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from mulan.preparation.faults import SourceError
from tests.preparation.tables import found_in_table, write_audio, write_files, write_table


def test_parts_of_a_file_are_recordings(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav"])
    rows = ["path,start_s,end_s,caption", "a.wav,0,10,One.", "a.wav,10,20.5,Two.", "a.wav,0.0,10.0,Three."]
    write_files(tmp_path, {"table.csv": "\n".join([*rows, "a.wav,,,All.", "a.wav,9,9,"])})
    recordings, faults = found_in_table(tmp_path / "table.csv")
    assert [(each.recording_id, each.start_s, each.end_s, each.texts["long_form"]) for each in recordings] == [
        ("a@10-20.5", 10, 20.5, ("Two.",)),
        ("a@0-10", 0, 10, ("One.", "Three.")),
        ("a", None, None, ("All.",)),
    ]
    assert faults.named == {"empty part": ["table.csv, line 6: end_s is 9.0, and start_s is 9.0"]}


def test_ids_of_equal_stems_keep_their_extensions(tmp_path: Path) -> None:
    names = ["x/a.mp3", "x/a.flac", "b.mp3", "c.mp3.wav", "c.mp3", "c.ogg"]
    write_audio(tmp_path, names)
    write_files(tmp_path, {"table.csv": "file\n" + "\n".join(names) + "\n"})
    recordings, _ = found_in_table(tmp_path / "table.csv")
    assert [each.recording_id for each in recordings] == ["x/a.mp3", "x/a.flac", "b", "c.mp3.wav", "c.mp3", "c.ogg"]


def test_ids_may_be_given_and_must_differ(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav", "b.wav", "c.wav", "d.wav"])
    write_files(
        tmp_path, {"table.csv": "id,path\none,a.wav\ntwo,b.wav\ntwo,c.wav\none,a.wav\nthree,d.wav\nfour,d.wav\n"}
    )
    recordings, faults = found_in_table(tmp_path / "table.csv")
    assert [(each.recording_id, Path(each.audio.uri).name) for each in recordings] == [("one", "a.wav")]
    assert faults.named == {
        "duplicate id": [
            "table.csv, line 3: other rows with the id two have other audio",
            "table.csv, line 4: other rows with the id two have other audio",
        ],
        "rows with different recording_id": ["table.csv, line 7: d.wav has four and three"],
    }


def test_rows_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav", "b.wav"])
    lines = [
        "a.wav,train,A harp.",
        ",train,A harp.",
        "a.wav,half",
        "b.wav,holdout,A harp.",
        "../b.wav,,A harp.",
        "c.wav,,A harp.",
        "s3:/bucket/c.wav,,A harp.",
        "nosuchscheme://c.wav,,A harp.",
        "a.wav,test,A lyre.",
    ]
    write_files(tmp_path / "data", {"table.csv": "path,split,caption\n" + "\n".join(lines) + "\n"})
    write_audio(tmp_path / "data", ["a.wav", "b.wav"])
    recordings, faults = found_in_table(tmp_path / "data" / "table.csv")
    assert recordings == []
    named = {reason: details[0] for reason, details in faults.named.items()}
    assert named["no audio path"] == "table.csv, line 3: the path of the audio is ''"
    assert named["damaged row"] == "table.csv, line 4: 2 fields instead of 3"
    assert named["unknown split"].startswith("table.csv, line 5: split is 'holdout', not one of train, ")
    assert named["path outside the folder"] == "table.csv, line 6: ../b.wav: write an absolute path"
    assert named["missing audio"] == f"c: there is no {tmp_path}/data/c.wav"
    assert named["unusable path"].startswith(
        "table.csv, line 8: s3:/bucket/c.wav: it is neither a URI nor clearly a path"
    )
    assert named["rows with different split"] == "table.csv, line 10: a.wav has test and train"
    assert faults.counts["unusable path"] == 2
    assert faults.left_out == 8


def test_audio_may_be_elsewhere(tmp_path: Path) -> None:
    write_audio(tmp_path / "music", ["a.mp3", "0001.ogg", "blob"])
    outside = f"memory://{uuid.uuid4().hex}/c.wav"
    rows = [
        "a.wav",
        "0001",
        "blob",
        f"{tmp_path}/music/a.mp3",
        f"{tmp_path}/other/b.wav",
        outside,
        "file:///none/x.wav",
    ]
    write_audio(tmp_path / "other", ["b.wav"])
    write_files(tmp_path / "tables", {"table.csv": "path\n" + "\n".join(rows) + "\n"})
    recordings, faults = found_in_table(tmp_path / "tables" / "table.csv", audio_folder=str(tmp_path / "music"))
    assert [each.audio.uri for each in recordings] == [
        f"{tmp_path}/music/a.mp3",  # another format of the file that is named
        f"{tmp_path}/music/0001.ogg",
        f"{tmp_path}/music/blob",
        f"{tmp_path}/music/a.mp3",
        f"{tmp_path}/other/b.wav",
        outside,
    ]
    assert [each.recording_id for each in recordings[-2:]] == [f"{tmp_path}/other/b"[1:], outside[9:-4]]
    # the absolute path is in the folder, so its id is that of the relative one, which another file has too
    assert [each.recording_id for each in recordings[:4]] == ["a.wav", "0001", "blob", "a.mp3"]
    assert faults.named == {"missing audio": ["none/x: there is no /none/x.wav"]}


def test_columns_are_chosen(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav"])
    write_files(tmp_path, {"table.csv": "clip,path,remark,style\na.wav,unused,A harp.,folk|new age\n"})
    names = {"fields.texts": {"long_form": ["remark"]}, "fields.tags": ["style"]}
    recordings, _ = found_in_table(tmp_path / "table.csv", audio="clip", **names)
    assert [(each.texts, each.tags) for each in recordings] == [
        ({"long_form": ("A harp.",)}, ("style:folk", "style:new age"))
    ]
    fault = "no row has a column style2, notes*; the columns are path, remark, style; set fields.texts"
    names = {"fields.texts": {"playlist": ["style2"]}, "fields.tags": ["notes*"]}
    with pytest.raises(SourceError, match=re.escape(fault)):
        found_in_table(tmp_path / "table.csv", audio="clip", **names)


def test_a_parquet_file_of_paths(tmp_path: Path) -> None:
    write_audio(tmp_path, ["a.wav", "b.wav"])
    table = pa.table({"path": ["a.wav", "b.wav", "a.wav", None], "tags": [["x", "y"], None, ["z"], ["w"]]})
    uri = write_table(table, tmp_path, "parquet", rows=2)
    recordings, faults = found_in_table(uri)
    assert [(each.recording_id, each.tags) for each in recordings] == [("b", ()), ("a", ("tag:x", "tag:y", "tag:z"))]
    assert faults.named == {"no audio path": ["table.parquet, row 3: the path of the audio is None"]}
