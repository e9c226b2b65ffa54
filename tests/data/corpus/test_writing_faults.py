import io
import os
import tarfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.config.errors import MulanError
from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME, write_index
from mulan.data.corpus.records import read_record
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.data.errors import CorpusError
from tests.conftest import tone_recording
from tests.encodings import by_libsndfile
from tests.sounds import tone

GOOD = [tone_recording(number, "train") for number in range(4)]


def ids(folder: Path) -> list[str]:
    corpus = Corpus.open(str(folder))
    names = corpus.table["recording_id"].to_pylist()
    assert [read_record(corpus, row).recording_id for row in range(len(names))] == names
    return names


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recording_id": ""}, ": unusable: its id is ''"),
        ({"recording_id": None}, "None: unusable: its id is None"),
        ({"recording_id": "caf\udce9"}, r"caf\\udce9: unusable: its id is 'caf\\udce9', not Unicode text"),
        ({"recording_id": "tone-001"}, "tone-001: unusable: its id is a duplicate"),
        ({"audio": b""}, "tone-002: unusable: its audio is empty"),
        ({"audio": "song.mp3"}, "its audio is a str, neither bytes nor a path"),
        ({"extension": ".mp3"}, "its extension is '.mp3'; write it as 'flac', 'mp3' and so on"),
        ({"extension": "json"}, "its extension is 'json'"),
        ({"extension": ""}, "its extension is ''"),
        ({"split": "training"}, "split is 'training', not one of train, validation, test"),
        ({"texts": {"long_form": "one caption"}}, "texts.long_form is 'one caption', not a list of strings"),
        ({"texts": {"long_form": (text for text in "ab")}}, "texts.long_form is <generator"),
        ({"duration_s": 10**400}, "duration_s is 1000"),
        ({"texts": {"lyrics": ["la"]}, "tags": "x"}, "texts.lyrics is not a text source.*; tags is 'x', not a list"),
        ({"duration_s": 0.0}, "duration_s is 0.0"),
        ({"provenance": "caf\udce9"}, "provenance is"),
        ({"duration_s": None, "audio": b"no audio"}, "tone-002: undecodable audio"),
    ],
)
def test_recordings_that_training_would_skip_are_rejected_or_skipped(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    recordings = [*GOOD[:2], replace(GOOD[2], **changes), GOOD[3]]
    with pytest.raises(CorpusError, match=words) as caught:
        write_corpus(recordings, str(tmp_path / "all"))
    assert caught.value.count == 1
    assert not (tmp_path / "all" / INDEX_NAME).exists()
    (skipped,) = write_corpus(iter(recordings), str(tmp_path / "rest"), on_error="skip")
    assert ids(tmp_path / "rest") == ["tone-000", "tone-001", "tone-003"]
    assert str(skipped).isprintable()
    str(skipped).encode()


def test_20_faults_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        write_corpus((replace(GOOD[0], recording_id=f"r{number}", split="") for number in range(5000)), str(tmp_path))
    lines = str(caught.value).splitlines()
    assert len(lines) == 22
    assert lines[0] == f"corpus {tmp_path} has 5000 faults:"
    assert lines[20].startswith("  - r19: unusable: split is ''")
    assert lines[21] == "  and 4980 more"


def test_objects_that_are_not_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"song\.mp3: not a recording: a str"):
        write_corpus(["song.mp3"], str(tmp_path))  # type: ignore[list-item]
    for nothing in ([], [replace(GOOD[0], audio=b"")]):
        with pytest.raises(CorpusError, match=r"no recordings|its audio is empty"):
            write_corpus(nothing, str(tmp_path), on_error="skip")
    with pytest.raises(CorpusError, match="neither 'raise' nor 'skip'"):
        write_corpus(GOOD, str(tmp_path), on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(CorpusError, match="recordings_per_shard is 0"):
        write_corpus(GOOD, str(tmp_path), recordings_per_shard=0)


def test_a_missing_duration_is_determined_from_the_audio(tmp_path: Path) -> None:
    audio = by_libsndfile(tone(440, 2.5, rate_hz=44_100), 44_100, "MP3")
    write_corpus([replace(GOOD[0], audio=audio, extension="mp3", duration_s=None)], str(tmp_path))
    corpus = Corpus.open(str(tmp_path))
    assert corpus.table["duration_s"].to_pylist() == [read_record(corpus, 0).metadata["duration_s"]] == [2.5]


def test_audio_may_be_given_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "02. good.flac").write_bytes(GOOD[0].audio if isinstance(GOOD[0].audio, bytes) else b"")
    (tmp_path / "empty.flac").touch()
    (tmp_path / "folder.flac").mkdir()
    (tmp_path / "gone.flac").symlink_to(tmp_path / "nowhere")
    named = [
        replace(GOOD[0], recording_id=path.stem, audio=path, duration_s=None) for path in sorted(tmp_path.iterdir())
    ]
    skipped = write_corpus(named, tmp_path / "corpus", on_error="skip")
    assert [(item.name, item.reason) for item in skipped] == [
        ("empty", "unusable"),
        ("folder", "missing file"),
        ("gone", "missing file"),
    ]
    assert ids(tmp_path / "corpus") == ["02. good"]


def test_recordings_are_consumed_one_at_a_time(tmp_path: Path) -> None:
    """Writing a shard of 64 MiB with recordings of 2 MiB needs the memory of one recording."""

    def large() -> Iterator[Recording]:
        for number in range(32):
            yield replace(GOOD[0], recording_id=str(number), audio=os.urandom(1024) * 2048)

    tracemalloc.start()
    try:
        write_corpus(large(), str(tmp_path), recordings_per_shard=32)
        assert tracemalloc.get_traced_memory()[1] < 3 * 2**20
    finally:
        tracemalloc.stop()
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["00000.tar"]


class Broken(Exception):
    pass


def breaking() -> Iterator[Recording]:
    yield replace(GOOD[0], recording_id="new")
    raise Broken


@pytest.mark.parametrize("stop", [Broken, CorpusError], ids=["a generator that breaks", "a bad recording"])
def test_an_existing_corpus_is_kept_until_the_new_one_is_complete(stop: type[Exception], tmp_path: Path) -> None:
    write_corpus(GOOD, str(tmp_path), recordings_per_shard=2)
    broken = breaking() if stop is Broken else [replace(GOOD[0], recording_id="new"), replace(GOOD[1], split="")]
    for _ in range(2):
        with pytest.raises(stop):
            write_corpus(broken if stop is CorpusError else breaking(), str(tmp_path), recordings_per_shard=1)
    assert ids(tmp_path) == [recording.recording_id for recording in GOOD]


def test_a_new_corpus_replaces_only_the_shards_of_the_previous_one(tmp_path: Path) -> None:
    write_corpus(GOOD, str(tmp_path), recordings_per_shard=2)
    (tmp_path / "shards" / "notes.txt").write_text("mine")
    for round_ in ("second", "third"):
        write_corpus([replace(GOOD[0], recording_id=round_)], str(tmp_path))
        assert ids(tmp_path) == [round_]
        assert len(list(tmp_path.rglob("*.tar"))) == 1
    assert (tmp_path / "shards" / "notes.txt").read_text() == "mine"


def test_shards_that_other_indices_may_name_are_kept(tmp_path: Path) -> None:
    write_corpus(GOOD[:1], str(tmp_path))
    index_shards([tmp_path / "shards" / "00000.tar"], str(tmp_path / "other"))
    (tmp_path / "mine.tar").write_bytes((tmp_path / "shards" / "00000.tar").read_bytes())
    table = pq.read_table(tmp_path / INDEX_NAME)
    write_index(table.set_column(1, "uri", pa.array(["mine.tar"])), str(tmp_path))
    write_corpus(GOOD[1:2], str(tmp_path))
    assert ids(tmp_path) == ["tone-001"]
    assert ids(tmp_path / "other") == ["tone-000"]
    assert (tmp_path / "mine.tar").exists()


def test_a_rejected_corpus_leaves_no_shards(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="split is ''"):
        write_corpus([GOOD[0], replace(GOOD[1], split="")], str(tmp_path), recordings_per_shard=1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(MulanError, match=r"file/corpus cannot be written"):
        write_corpus(GOOD, str(tmp_path / "file" / "corpus"))


def test_texts_may_be_any_mapping(tmp_path: Path) -> None:
    write_corpus([replace(GOOD[0], texts=MappingProxyType({"playlist": ("a", "b")}))], str(tmp_path))
    assert read_record(Corpus.open(str(tmp_path)), 0).texts("playlist") == ["a", "b"]


def test_relative_paths_and_the_home_folder_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_corpus(GOOD[:1], "corpus")
    write_corpus(GOOD[1:2], "~/corpus")
    write_corpus(GOOD[2:3], tmp_path / "by path")  # type: ignore[arg-type]
    opened = Corpus.open("corpus"), Corpus.open("~/corpus")
    monkeypatch.chdir("/")
    assert [read_record(corpus, 0).recording_id for corpus in opened] == ["tone-000", "tone-001"]
    assert ids(tmp_path / "home" / "corpus") == ["tone-001"]
    assert ids(tmp_path / "by path") == ["tone-002"]


def test_no_temporary_files_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "aside"))
    (tmp_path / "aside").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    write_corpus(GOOD, str(tmp_path / "corpus"), recordings_per_shard=3)
    with pytest.raises(Broken):
        write_corpus(breaking(), str(tmp_path / "corpus"))
    assert list((tmp_path / "aside").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == [INDEX_NAME, "shards"]
    with tarfile.open(tmp_path / "corpus" / "shards" / "00001.tar") as tar:
        assert tar.getnames() == ["tone-003.flac", "tone-003.json"]
        member = tar.extractfile("tone-003.flac")
        assert member is not None
        assert io.BytesIO(member.read()).getvalue() == GOOD[3].audio
