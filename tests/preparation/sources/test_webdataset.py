"""Tests tars as a source, both indexed where they are and copied."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import SCHEMA, write_index
from mulan.data.corpus.records import read_record
from mulan.data.corpus.writing import write_corpus
from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.fields import FieldsConfig
from mulan.preparation.found import FoundRecording
from mulan.preparation.locations import read_audio
from mulan.preparation.sources.webdataset import WebDataset, WebDatasetConfig
from mulan.storage import filesystem
from tests.conftest import tone_recording
from tests.data.corpus.tars import write_tar
from tests.sounds import flac, tone

AUDIO = [flac(tone(220.0 * (1 + number), 0.5, seed=number)) for number in range(6)]


def members_of(number: int, **values: Any) -> list[tuple[str, bytes]]:
    content = {"text": [f"tone {number}"], "tag": ["drone"], "original_data": {"title": "x"}} | values
    return [(f"{number}.flac", AUDIO[number]), (f"{number}.json", json.dumps(content).encode())]


def write_tars(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_tar(folder / name, members_of(number))


def source(uri: Path | str, **settings: Any) -> WebDataset:
    return WebDataset(str(uri), WebDatasetConfig().replace(settings))


def copied(tars: WebDataset) -> tuple[list[FoundRecording], Faults]:
    faults = Faults()
    recordings = list(tars.recordings(faults))
    assert list(tars.recordings(Faults())) == recordings  # it can be called again
    return recordings, faults


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["0.tar", "1.tar", "train/a-07.tar", "train/a-08.tar"]),
        ("1.tar", ["1.tar"]),
        ("*.tar", ["0.tar", "1.tar"]),
        ("{1..0}.tar", "is an empty range"),
        ("{1,0}.tar", ["1.tar", "0.tar"]),
        ("train/a-{07..08}.tar", ["train/a-07.tar", "train/a-08.tar"]),
        ("train/a-{07..11}.tar", "there is no file .*/train/a-09.tar, which the pattern names"),
        ("{train,.}/a-0?.tar", ["train/a-07.tar", "train/a-08.tar"]),
        ("train/b*.tar", "there are no tars in .*/train, or only compressed ones; name a tar, a folder"),
        ("nowhere/*.tar", "there is no folder .*/nowhere; name a tar, a folder"),
        ("nowhere", "there is no folder .*nowhere; name a tar, a folder"),
        ("notes.txt", r"notes.txt is neither a folder nor a .tar; decompress it if"),
        ("2.tar", r"there is no file .*2\.tar"),
    ],
)
def test_paths_and_patterns_name_tars(pattern: str, expected: list[str] | str, tmp_path: Path) -> None:
    write_tars(tmp_path, ["train/a-08.tar", "0.tar", "1.tar", "train/a-07.tar"])
    (tmp_path / "notes.txt").write_text("no tar")
    uri = f"{tmp_path}/{pattern}".rstrip("/")
    if isinstance(expected, list):
        assert source(uri).shards() == [f"{tmp_path}/{name}" for name in expected]
    else:
        with pytest.raises(SourceError, match=expected):
            source(uri).shards()


def test_tars_are_adopted_where_they_are(tmp_path: Path) -> None:
    write_tars(tmp_path / "tars", ["valid/0.tar", "a.tar", "b.tar"])
    write_tar(tmp_path / "tars" / "c.tar", [*members_of(3)[:1], *members_of(4)])
    (tmp_path / "tars" / "d.tar").write_bytes(b"no tar" * 999)
    faults = Faults()
    rows = [each.row for each in source(tmp_path / "tars").rows(faults)]
    assert [(row["recording_id"], row["split"]) for row in rows] == [
        ("1", "train"), ("2", "train"), ("4", "train"), ("0", "validation")
    ]  # fmt: skip
    assert dict(faults.counts) == {"no metadata": 1, "truncated shard": 1}
    assert faults.named["no metadata"] == [f"{tmp_path}/tars/c.tar: 3: 3 has no .json member"]
    write_index(pa.Table.from_pylist(rows, SCHEMA), str(tmp_path / "corpus"))
    corpus = Corpus.open(str(tmp_path / "corpus"))
    for number, name in enumerate(corpus.recording_ids(range(4))):
        record = read_record(corpus, number)
        assert (record.audio, record.texts("long_form")) == (AUDIO[int(name)], [f"tone {name}"])


def test_recordings_of_tars_can_be_copied(tmp_path: Path, storage_uri: str) -> None:
    extra = {"title": "Evening", "artist": "Ada", "split": "dev", "start_s": 3, "licence": "CC0"}
    members = [*members_of(0), *members_of(1, **extra)]
    content = Path(write_tar(tmp_path / "x.tar", [*members[::2], *members[1::2], ("mute.json", b"{}")])).read_bytes()
    filesystem.write_atomically(f"{storage_uri}/0.tar", content)
    tars = source(storage_uri, copies=True)
    recordings, faults = copied(tars)
    assert tars.copies
    assert dict(faults.counts) == {"no audio": 1}
    assert [read_audio(each.audio) for each in recordings] == AUDIO[:2]
    assert all(each.audio.version for each in recordings)
    plain, full = (replace(each, audio=recordings[0].audio) for each in recordings)
    expected = FoundRecording(
        recording_id="0", audio=recordings[0].audio, texts={"long_form": ("tone 0",)}, tags=("tag:drone",)
    )
    stated = {"title": "Evening", "artist": "Ada", "split": "validation", "start_s": 3.0, "licence": "CC0"}
    assert plain == expected
    assert full == replace(
        expected, recording_id="1", texts={"short_form": ("Evening",), "long_form": ("tone 1",)}, **stated
    )


def test_a_tar_that_changes_without_its_size_has_another_version(tmp_path: Path) -> None:
    path = Path(write_tar(tmp_path / "x.tar", members_of(0)))
    versions = set()
    for time_ns in (1, 2):
        os.utime(path, ns=(time_ns, time_ns))
        (recording,), _ = copied(source(path, copies=True))
        versions.add(recording.audio.version)
    assert len(versions) == 2


def test_tars_that_mulan_has_written_keep_ids_texts_and_tags(tmp_path: Path) -> None:
    recordings = [replace(tone_recording(0, "test"), recording_id="02. Intro"), tone_recording(1, "train")]
    write_corpus(recordings, str(tmp_path))
    found, faults = copied(source(tmp_path))
    assert faults.left_out == 0
    assert [each.recording_id for each in found] == ["02. Intro", "tone-001"]
    for ours, theirs in zip(found, recordings, strict=True):
        assert {name: list(texts) for name, texts in ours.texts.items()} == theirs.texts
        assert (list(ours.tags), ours.split, ours.licence) == (theirs.tags, theirs.split, theirs.licence)
        assert read_audio(ours.audio) == theirs.audio


def test_settings_name_fields_and_restarting_keys(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, members_of(0, style="slow", remark="A remark."))
    fields = FieldsConfig(texts={"playlist": ("remark",)}, tags=("style",))
    for restart, names, left_out in ((True, ["a/0", "b/0"], {}), (False, ["0"], {"duplicate id": 1})):
        tars, faults = source(tmp_path, fields=fields, keys_restart=restart), Faults()
        rows = [each.row for each in tars.rows(faults)]
        assert ([row["recording_id"] for row in rows], faults.counts) == (names, left_out)
        assert {(*row["sources"], *row["tags"]) for row in rows} == {("playlist", "style:slow")}
        recordings, faults = copied(tars)
        assert ([each.recording_id for each in recordings], faults.counts) == (names, left_out)
        assert {each.texts["playlist"] for each in recordings} == {("A remark.",)}


def test_tars_without_usable_recordings_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.json", b"{}")])
    for read in (source(tmp_path).rows, source(tmp_path).recordings):
        with pytest.raises(
            SourceError, match=r"none of its recordings can be used; the first fault: .*a\.tar: a: no audio"
        ):
            list(read(Faults()))
