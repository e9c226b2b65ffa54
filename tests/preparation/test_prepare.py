"""Tests that the corpus depends on the sources and settings alone, and not on how it came about."""

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.index import Corpus
from mulan.preparation.found import AudioLocation
from mulan.preparation.pipeline import prepare_chunk
from mulan.preparation.plan import Preparation, plan
from mulan.preparation.prepare import make_corpus
from mulan.preparation.scan import NamedSource
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.sources.webdataset import WebDataset, WebDatasetConfig
from mulan.preparation.workspace import PreparationRefused
from tests.data.corpus.tars import write_tar
from tests.preparation.sources_of_tests import GivenSource, preparation, tones
from tests.sounds import flac, tone

CONFIG = PreparationConfig(recordings_per_shard=4)


def make(prepared: Preparation) -> dict[str, Any]:
    """Makes a corpus without Ray: no shard is missing when the index is made."""
    prepared.workspace.begin(prepared.settings)
    for chunk in plan(prepared, write=True).missing:
        prepare_chunk(chunk, prepared.workspace, prepared.config)
    return make_corpus(prepared, plan(prepared, write=False), on_progress=lambda *_: None)


def digests(folder: str | Path, *names: str) -> dict[str, str]:
    """Returns the digests of the files of a corpus by name."""
    paths = [path for name in names for path in Path(folder).glob(name)]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def corpus_of(folder: str | Path) -> dict[str, str]:
    return digests(folder, "index.parquet", "shards/*")


def test_the_corpus_has_all_recordings_in_the_order_of_the_source(tmp_path: Path) -> None:
    found = tones(tmp_path / "tones", 20)
    report = make(preparation(tmp_path / "corpus", GivenSource(found, missing=["gone"]), config=CONFIG))
    corpus = Corpus.open(str(tmp_path / "corpus"))
    assert corpus.table["recording_id"].to_pylist() == [recording.recording_id for recording in found]
    assert report["recordings"] == 20
    assert report["hours"] == pytest.approx(20 * 2 / 3600)
    assert report["sources"]["tones=0"]["left_out"]["missing audio"]["count"] == 1
    assert json.loads((tmp_path / "corpus/preparation/report.json").read_text(encoding="utf-8")) == report
    assert not (tmp_path / "corpus/preparation/chunks").exists()


def test_a_corpus_that_was_interrupted_has_the_same_bytes(tmp_path: Path) -> None:
    source = GivenSource(tones(tmp_path / "tones", 20))
    make(preparation(tmp_path / "one", source, config=CONFIG))
    interrupted = preparation(tmp_path / "two", source, config=CONFIG)
    for _ in range(3):  # each attempt makes some shards, in any order, and ends without an index
        missing = list(plan(interrupted, write=True).missing)
        random.Random(0).shuffle(missing)
        for chunk in missing[:2]:
            prepare_chunk(chunk, interrupted.workspace, interrupted.config)
        assert not (tmp_path / "two/index.parquet").exists()
    make(interrupted)
    assert corpus_of(tmp_path / "one") == corpus_of(tmp_path / "two")
    assert len(corpus_of(tmp_path / "one")) >= 4


def test_a_second_call_changes_nothing(tmp_path: Path) -> None:
    prepared = preparation(tmp_path / "corpus", GivenSource(tones(tmp_path / "tones", 9)), config=CONFIG)
    make(prepared)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus/shards").iterdir()}
    digest = corpus_of(tmp_path / "corpus")
    assert plan(prepared, write=False).missing == []
    make(prepared)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "corpus/shards").iterdir()} == before
    assert corpus_of(tmp_path / "corpus") == digest


def test_shards_of_changed_recordings_replace_the_old_ones(tmp_path: Path) -> None:
    found = tones(tmp_path / "tones", 9)
    make(preparation(tmp_path / "corpus", GivenSource(found), config=CONFIG))
    found[4] = replace(found[4], tags=["genre:noise"])
    make(preparation(tmp_path / "corpus", GivenSource(found), config=CONFIG))
    make(preparation(tmp_path / "fresh", GivenSource(found), config=CONFIG))
    assert corpus_of(tmp_path / "corpus") == corpus_of(tmp_path / "fresh")
    assert (
        digests(tmp_path / "corpus", "preparation/results/*").keys()
        == digests(tmp_path / "fresh", "preparation/results/*").keys()
    )


def test_copies_are_in_the_table_of_recordings_but_not_in_the_index(tmp_path: Path) -> None:
    found = tones(tmp_path / "tones", 6)
    copy = replace(found[1], recording_id="copy", artist="Somebody else", title="Another")
    report = make(preparation(tmp_path / "corpus", GivenSource([*found, copy]), config=CONFIG))
    assert report["recordings"] == 6
    assert report["left_out"]["duplicate audio"] == {"count": 1, "named": ["copy: of tone-001"]}
    rows = pq.read_table(tmp_path / "corpus/preparation/recordings.parquet").to_pylist()
    assert [row["recording_id"] for row in rows if row["reason"]] == ["copy"]


def test_a_corpus_can_be_excluded_from_another(tmp_path: Path) -> None:
    found = tones(tmp_path / "tones", 6)
    make(preparation(tmp_path / "evaluated", GivenSource(found[:2]), config=CONFIG))
    renamed = [replace(recording, recording_id=f"r{number}") for number, recording in enumerate(found)]
    report = make(
        preparation(tmp_path / "corpus", GivenSource(renamed), config=CONFIG, exclude=[str(tmp_path / "evaluated")])
    )
    assert report["left_out"]["excluded audio"]["count"] == 2
    assert Corpus.open(str(tmp_path / "corpus")).table["recording_id"].to_pylist() == ["r2", "r3", "r4", "r5"]


def test_tars_in_the_folder_of_the_corpus_are_adopted_and_kept(tmp_path: Path) -> None:
    shards = tmp_path / "music" / "shards"
    shards.mkdir(parents=True)
    names = [shards / "0.tar", shards / f"{32 * 'a'}.tar"]  # the second is called like a shard of a preparation
    for number, path in enumerate(names):
        audio, text = flac(tone(100 * (1 + number), 0.5)), json.dumps({"text": "a tone"}).encode()
        write_tar(path, [(f"{number}.flac", audio), (f"{number}.json", text)])
    before = digests(shards, "*")
    tars = NamedSource(f"webdataset={shards}", "", WebDataset(str(shards), WebDatasetConfig()))
    report = make(preparation(tmp_path / "music", adopted=[tars]))
    assert report["recordings"] == report["adopted"] == 2
    assert digests(shards, "*") == before
    index = digests(tmp_path / "music", "index.parquet")
    write_tar(names[0], [("0.flac", flac(tone(100, 0.5))), ("0.json", json.dumps({"text": "a horn"}).encode())])
    make(preparation(tmp_path / "music", adopted=[tars]))
    assert digests(tmp_path / "music", "index.parquet") != index, "a text of the same size has changed"


def broken(folder: Path, count: int) -> list[Any]:
    found = tones(folder, count)
    for recording in found:
        Path(recording.audio.uri).write_bytes(b"no audio" * 50)
    return [
        replace(recording, recording_id=f"broken {number}", title="", audio=AudioLocation(uri=recording.audio.uri))
        for number, recording in enumerate(found)
    ]


def test_too_many_broken_recordings_are_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    good = tones(tmp_path / "tones", 2)
    make(preparation(tmp_path / "corpus", GivenSource(good), config=CONFIG))
    before = corpus_of(tmp_path / "corpus")
    with pytest.raises(PreparationRefused) as refused:
        make(preparation(tmp_path / "corpus", GivenSource([*good, *broken(tmp_path / "bad", 5)]), config=CONFIG))
    assert "5 of 7 recordings cannot be used; --set max_left_out=SHARE allows more" in str(refused.value)
    assert "broken 0: " in str(refused.value)
    assert before.items() <= corpus_of(tmp_path / "corpus").items()


def test_files_that_could_not_be_read_are_tried_again(tmp_path: Path) -> None:
    source = GivenSource(tones(tmp_path / "tones", 9))
    make(preparation(tmp_path / "fresh", source, config=CONFIG))
    (tmp_path / "tones").rename(tmp_path / "unmounted")
    with pytest.raises(PreparationRefused, match="9 of 9 recordings cannot be used"):
        make(preparation(tmp_path / "corpus", source, config=CONFIG))
    (tmp_path / "unmounted" / "tone-004.flac").rename(tmp_path / "elsewhere.flac")
    (tmp_path / "unmounted").rename(tmp_path / "tones")
    report = make(preparation(tmp_path / "corpus", source, config=CONFIG))
    assert report["left_out"]["missing file"]["count"] == 1
    (tmp_path / "elsewhere.flac").rename(tmp_path / "tones" / "tone-004.flac")
    make(preparation(tmp_path / "corpus", source, config=CONFIG))
    assert corpus_of(tmp_path / "corpus") == corpus_of(tmp_path / "fresh")


def test_no_usable_recording_is_an_error(tmp_path: Path) -> None:
    allowing = CONFIG.replace({"max_left_out": 1.0})
    with pytest.raises(PreparationRefused, match=r"no recording can be used \(undecodable audio: 2\)"):
        make(preparation(tmp_path / "corpus", GivenSource(broken(tmp_path / "bad", 2)), config=allowing))
