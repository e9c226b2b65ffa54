"""Tests that a written corpus is read back by mulan and by the webdataset library."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import webdataset

from mulan.data.corpus.adoption import index_shards
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME
from mulan.data.corpus.records import read_record
from mulan.data.corpus.writing import Recording, write_corpus
from mulan.data.errors import CorpusError
from tests.data.corpus.tars import ODD_IDS, PLAIN_IDS, RECORDINGS, write_tar
from tests.sounds import flac, tone, wav

METADATA = {"texts": {"short_form": ["a tone"]}, "split": "test", "tags": ["genre:drone"], "licence": "CC0-1.0"}


def shards_of(folder: Path) -> list[str]:
    return sorted(str(path) for path in (folder / "shards").iterdir())


def test_a_corpus_is_read_back_as_written(written: Path) -> None:
    corpus = Corpus.open(str(written))
    assert [Path(shard).name for shard in shards_of(written)] == ["00000.tar", "00001.tar", "00002.tar"]
    assert corpus.table["recording_id"].to_pylist() == [recording.recording_id for recording in RECORDINGS]
    for row, recording in enumerate(RECORDINGS):
        record = read_record(corpus, row)
        assert (record.recording_id, record.audio, record.extension) == (
            recording.recording_id,
            recording.audio,
            recording.extension,
        )
        indexed = corpus.table.slice(row, 1).to_pylist()[0]
        for field in ("duration_s", "split", "tags"):
            assert record.metadata[field] == indexed[field] == getattr(recording, field)
        assert indexed["sources"] == list(recording.texts)
        for source, texts in recording.texts.items():
            assert record.texts(source) == list(texts)
        assert record.metadata["provenance"] == recording.provenance
        assert record.metadata["licence"] == recording.licence


def assert_ranges_are_those_of_the_tars(corpus: Corpus, members_per_recording: int = 2) -> None:
    """Asserts that each range begins with the header of its first member and ends where the next recording begins."""
    by_shard: dict[str, list[tuple[int, int]]] = {}
    for location in corpus.locations(range(corpus.table.num_rows)):
        by_shard.setdefault(location.uri, []).extend(location.ranges)
    for uri, ranges in by_shard.items():
        with tarfile.open(uri) as tar:
            starts = [member.offset for member in tar.getmembers()][::members_per_recording]
            end = tar.offset  # of the last member's data, rounded up to whole blocks
        assert ranges == [(start, after - start) for start, after in zip(starts, [*starts[1:], end], strict=True)]


def test_the_index_has_the_exact_byte_ranges(written: Path) -> None:
    assert_ranges_are_those_of_the_tars(Corpus.open(str(written)))


def test_the_webdataset_library_reads_the_shards(written: Path) -> None:
    samples = list(webdataset.WebDataset(shards_of(written), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [recording.recording_id for recording in RECORDINGS]
    for sample, recording in zip(samples, RECORDINGS, strict=True):
        assert sample["flac"] == recording.audio
        expected = {name: value for name, value in asdict(recording).items() if name not in ("audio", "extension")}
        assert json.loads(sample["json"]) == expected


def test_any_unicode_id_is_read_back(tmp_path: Path) -> None:
    names = [*PLAIN_IDS, *ODD_IDS]
    write_corpus((replace(RECORDINGS[0], recording_id=name) for name in names), str(tmp_path))
    corpus = Corpus.open(str(tmp_path))
    assert corpus.table["recording_id"].to_pylist() == names
    assert [read_record(corpus, row).recording_id for row in range(len(names))] == names
    keys = [sample["__key__"] for sample in webdataset.WebDataset(shards_of(tmp_path), shardshuffle=False)]
    assert keys == [*PLAIN_IDS, *(key for key in ODD_IDS.values())]
    (tmp_path / "out").mkdir()
    with tarfile.open(shards_of(tmp_path)[0]) as tar:
        tar.extractall(tmp_path / "out", filter="fully_trusted")
    assert sum(path.suffix == ".json" for path in (tmp_path / "out").rglob("*")) == len(names)
    index_shards(shards_of(tmp_path), str(tmp_path / "again"))
    assert Corpus.open(str(tmp_path / "again")).table["recording_id"].to_pylist() == names


def test_tars_of_the_webdataset_library_are_adopted_in_place(tmp_path: Path) -> None:
    audio = {f"song{number}": flac(tone(220.0 * (number + 1), 0.5 + number)) for number in range(4)}
    long_key = "set/" + "k" * 120  # too long for a tar header, so that an extended header precedes the member
    audio[long_key] = flac(tone(99.0, 1.0))
    with webdataset.TarWriter(str(tmp_path / "theirs.tar")) as writer:
        for key, content in audio.items():
            writer.write({"__key__": key, "flac": content, "json": METADATA})
    before = (tmp_path / "theirs.tar").read_bytes()
    index_shards([str(tmp_path / "theirs.tar")], str(tmp_path / "corpus"))
    assert (tmp_path / "theirs.tar").read_bytes() == before
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == [INDEX_NAME]
    corpus = Corpus.open(str(tmp_path / "corpus"))
    assert corpus.table["duration_s"].to_pylist() == pytest.approx([0.5, 1.5, 2.5, 3.5, 1.0])
    assert set(corpus.table["split"].to_pylist()) == {"test"}
    for row, (key, content) in enumerate(audio.items()):
        record = read_record(corpus, row)
        assert (record.recording_id, record.audio) == (key, content)
        assert record.texts("short_form") == ["a tone"]
    assert_ranges_are_those_of_the_tars(corpus)


@pytest.mark.parametrize("changed", ["audio", "texts"])
def test_other_content_of_the_same_size_has_another_digest(changed: str, tmp_path: Path) -> None:
    first = replace(RECORDINGS[0], extension="wav", audio=wav(tone(440, 1.0)), texts={"playlist": ["calm"]})
    other = (
        replace(first, audio=wav(tone(880, 1.0)))
        if changed == "audio"
        else replace(first, texts={"playlist": ["loud"]})
    )
    corpora = []
    for name, recording in {"one": first, "again": first, "other": other}.items():
        write_corpus([recording], tmp_path / name)
        corpora.append(Corpus.open(str(tmp_path / name)))
    one, again, with_other_content = corpora
    assert with_other_content.table.equals(one.table)
    assert one.index_sha256 == again.index_sha256 != with_other_content.index_sha256


def test_adopting_written_shards_gives_the_written_index(written: Path, tmp_path: Path) -> None:
    index_shards(shards_of(written), str(tmp_path))
    ours, adopted = Corpus.open(str(written)), Corpus.open(str(tmp_path))
    assert adopted.locations(range(len(RECORDINGS))) == ours.locations(range(len(RECORDINGS)))
    assert adopted.table.drop_columns("uri").equals(ours.table.drop_columns("uri"))


def test_a_recording_without_a_split_is_for_training(tmp_path: Path) -> None:
    members = {"one.flac": RECORDINGS[0].audio, "one.json": b'{"texts": {"playlist": ["x"]}}'}
    shard = write_tar(tmp_path / "a.tar", [*members.items()])
    index_shards([shard], str(tmp_path))
    row = Corpus.open(str(tmp_path)).table.to_pylist()[0]
    assert (row["split"], row["sources"], row["tags"], row["duration_s"]) == ("train", ["playlist"], [], 2.0)


def test_an_interrupted_corpus_has_no_index(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Recording]:
        yield from RECORDINGS[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(interrupted(), str(tmp_path), recordings_per_shard=3)
    assert [Path(shard).name for shard in shards_of(tmp_path)] == ["00000.tar"]
    with pytest.raises(CorpusError, match="no index"):
        Corpus.open(str(tmp_path))
