"""Tests that a chunk becomes one shard, whose bytes depend on the chunk alone, with a row for each recording."""

import resource
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import webdataset

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import SCHEMA, write_index
from mulan.data.corpus.records import read_record
from mulan.preparation.chunks import Chunk
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.settings import ClipConfig
from mulan.preparation.shards import DecodedRecording, decoded, write_shard
from mulan.storage.errors import StoragePermanentError
from tests.preparation.sources_of_tests import tones

CHUNK = Chunk("aa", "bb", 4)


@pytest.fixture
def found(tmp_path: Path) -> list[FoundRecording]:
    good = tones(tmp_path / "tones", 3)
    (tmp_path / "tones" / "broken.mp3").write_bytes(b"no audio" * 100)
    (tmp_path / "tones" / "absent.mp3").write_bytes(b"")
    broken = replace(good[0], recording_id="broken", audio=AudioLocation(uri=str(tmp_path / "tones" / "broken.mp3")))
    return [good[0], broken, *good[1:]]


def written(found: list[FoundRecording], folder: Path) -> pa.Table:
    return write_shard(decoded(found, ClipConfig()), CHUNK, str(folder))


def test_the_shard_is_a_corpus_with_its_rows(found: list[FoundRecording], tmp_path: Path) -> None:
    rows = written(found, tmp_path / "corpus")
    assert [reason != "" for reason in rows["reason"].to_pylist()] == [False, True, False, False]
    usable = rows.filter(pa.array([True, False, True, True]))
    write_index(usable.select(SCHEMA.names), str(tmp_path / "corpus"))
    corpus = Corpus.open(str(tmp_path / "corpus"))
    for row, recording in enumerate([found[0], *found[2:]]):
        record = read_record(corpus, row)
        assert record.recording_id == recording.recording_id
        assert record.texts("short_form") == recording.texts["short_form"]
        assert record.metadata["title"] == recording.title
        assert record.metadata["duration_s"] == 2.0
    assert rows["artist"].to_pylist()[0] == "Oscillator 0"
    assert rows["recording_s"].to_pylist() == [2.0, 0.0, 2.0, 2.0]


def test_webdataset_reads_the_shard(found: list[FoundRecording], tmp_path: Path) -> None:
    written(found, tmp_path / "corpus")
    dataset = webdataset.WebDataset(str(tmp_path / "corpus" / CHUNK.shard_name), shardshuffle=False)
    samples = list(dataset)
    assert [sample["__key__"] for sample in samples] == ["tone-000", "tone-001", "tone-002"]
    assert all(sample["flac"].startswith(b"fLaC") and sample["json"].startswith(b"{") for sample in samples)


def test_the_same_chunk_gives_the_same_bytes(found: list[FoundRecording], tmp_path: Path) -> None:
    shards = []
    for folder in ("one", "two"):
        written(found, tmp_path / folder)
        shards.append(Path(tmp_path / folder / CHUNK.shard_name).read_bytes())
    assert shards[0] == shards[1]
    assert len(shards[0]) > 10_000


def test_nothing_but_the_shard_is_left(found: list[FoundRecording], tmp_path: Path) -> None:
    written(found, tmp_path / "corpus")
    assert [str(path.relative_to(tmp_path / "corpus")) for path in (tmp_path / "corpus").rglob("*")] == [
        "shards",
        CHUNK.shard_name,
    ]


def test_a_failure_leaves_no_half_shard(found: list[FoundRecording], tmp_path: Path) -> None:
    def failing() -> object:
        yield next(iter(decoded(found, ClipConfig())))
        raise MemoryError

    with pytest.raises(MemoryError):
        write_shard(failing(), CHUNK, str(tmp_path / "corpus"))
    assert list((tmp_path / "corpus").rglob("*")) == []


def test_recordings_that_are_all_left_out_need_no_shard(found: list[FoundRecording], tmp_path: Path) -> None:
    left_out = [DecodedRecording(found=found[0]).left_out("not music", "10 %")]
    rows = write_shard(left_out, CHUNK, str(tmp_path / "corpus"))
    assert rows["detail"].to_pylist() == ["10 %"]
    assert not (tmp_path / "corpus" / "shards").exists()


def test_metadata_that_training_would_refuse_are_left_out(found: list[FoundRecording], tmp_path: Path) -> None:
    bad = replace(found[0], tags=["genre:"])
    rows = written([bad, found[2]], tmp_path / "corpus")
    assert rows["reason"].to_pylist() == ["unusable metadata", ""]
    assert "tags has one without text" in rows["detail"].to_pylist()[0]


def test_a_part_of_a_recording_is_written(tmp_path: Path) -> None:
    (found,) = tones(tmp_path / "tones", 1, seconds=5)
    rows = written([replace(found, start_s=1.0, end_s=2.5)], tmp_path / "corpus")
    assert rows["duration_s"].to_pylist() == [1.5]


def test_a_shard_that_is_too_large_for_the_disk_is_an_error_with_a_remedy(
    found: list[FoundRecording], tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(StoragePermanentError, match="corpus cannot be written: File too large; allow larger files"):
            written(found, tmp_path / "corpus")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "corpus").rglob("*")) == []
