"""Tests the passes over the sources: what is left out, and what splits and texts the others have."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mulan.preparation.faults import Faults, SourceError
from mulan.preparation.found import AudioLocation, FoundRecording
from mulan.preparation.scan import Scan
from mulan.preparation.settings import PreparationConfig
from mulan.preparation.texts.filtering import TextFilters
from tests.preparation.sources_of_tests import GivenSource, preparation


def found(name: str, **values: object) -> FoundRecording:
    recording = FoundRecording(recording_id=name, audio=AudioLocation(uri=f"/music/{name}.mp3", version="12-34"))
    return replace(recording, **values)


def scan_of(*sources: GivenSource, exclude: Sequence[str] = (), config: PreparationConfig | None = None) -> Scan:
    prepared = preparation("/corpus", *sources, exclude=exclude, config=config)
    return Scan(prepared.sources, prepared.config, prepared.exclusions, TextFilters(prepared.config.text))


def test_recordings_keep_their_order_and_have_a_split_and_filtered_texts() -> None:
    texts = {"short_form": ["Blue Train (Official Video)", "jazz"]}
    scan = scan_of(GivenSource([found("b", texts=texts), found("a", split="test")]))
    first, second = scan.recordings()
    assert [first.recording_id, second.recording_id] == ["b", "a"]
    assert first.split in ("train", "validation", "test")
    assert second.split == "test"
    assert "jazz" in first.texts["short_form"]
    assert not any("Official" in text for text in first.texts["short_form"])
    assert list(first.texts["short_form_unfiltered"]) == texts["short_form"]
    assert scan.splits.total() == 2


def test_ids_of_several_sources_begin_with_their_prefix() -> None:
    scan = scan_of(GivenSource([found("a")]), GivenSource([found("a")]))
    assert [recording.recording_id for recording in scan.recordings()] == ["0/a", "1/a"]


def test_each_reason_is_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "evaluated.txt").write_text("secret\n", encoding="utf-8")
    empty = AudioLocation(uri="/music/empty.mp3", version="0-34")
    source = GivenSource(
        [found("a"), found("a"), found("secret"), found("empty", audio=empty), *(found(f"{n}") for n in range(9))],
        missing=["gone"],
    )
    scan = scan_of(source, exclude=[str(tmp_path / "evaluated.txt")])
    assert len(list(scan.recordings())) == 10
    faults = scan.faults["tones=0"]
    assert faults.found == 10
    assert faults.counts == {"missing audio": 1, "duplicate id": 1, "excluded": 1, "empty file": 1}
    assert faults.named["empty file"] == ["empty: /music/empty.mp3"]


@pytest.mark.parametrize(
    "field", ["recording_id", "title", "artist", "channel", "provenance", "licence", "tags", "uri"]
)
def test_what_cannot_be_written_is_left_out_and_named(field: str) -> None:
    broken = "br\ud800ken"
    values = {"tags": {"tags": (f"genre:{broken}",)}, "uri": {"audio": AudioLocation(uri=broken, version="1-2")}}
    scan = scan_of(GivenSource([found("a"), replace(found("b"), **values.get(field, {field: broken}))]))
    (usable,) = scan.recordings()
    assert usable.recording_id == "a"
    (named,) = scan.faults["tones=0"].named["not Unicode"]
    named.encode()
    assert {"tags": "the tags", "uri": "the path"}.get(field, field) in named


def test_a_scan_can_be_repeated() -> None:
    scan = scan_of(GivenSource([found(f"{number}") for number in range(5)]))
    assert list(scan.recordings()) == list(scan.recordings())


def test_too_many_missing_recordings_are_an_error_that_names_some() -> None:
    source = GivenSource([found("a")], missing=[f"gone {number}" for number in range(4)])
    with pytest.raises(SourceError) as error:
        list(scan_of(source).recordings())
    assert "4 of 5 recordings cannot be used (missing audio: 4)" in str(error.value)
    assert "--set max_left_out=SHARE" in str(error.value)
    assert "gone 0: there is no gone 0.flac" in str(error.value)
    allowed = scan_of(source, config=PreparationConfig(max_left_out=0.8))
    assert len(list(allowed.recordings())) == 1


def test_recordings_that_are_excluded_on_purpose_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "evaluated.txt").write_text("a\nb\nc\n", encoding="utf-8")
    source = GivenSource([found(name) for name in "abcd"])
    scan = scan_of(source, exclude=[str(tmp_path / "evaluated.txt")])
    assert [recording.recording_id for recording in scan.recordings()] == ["d"]
    scan = scan_of(GivenSource([found("a")]), source, exclude=[str(tmp_path / "evaluated.txt")])
    assert [recording.recording_id for recording in scan.recordings()] == ["1/d"]


def test_a_source_that_is_excluded_as_a_whole_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "evaluated.txt").write_text("a\nb\n", encoding="utf-8")
    scan = scan_of(
        GivenSource([found("a"), found("b")]), GivenSource([found("c")]), exclude=[str(tmp_path / "evaluated.txt")]
    )
    assert [recording.recording_id for recording in scan.recordings()] == ["1/c"]
    assert scan.faults["tones=0"].counts == {"excluded": 2}


def test_an_empty_source_is_an_error() -> None:
    with pytest.raises(SourceError, match="there are no recordings"):
        list(scan_of(GivenSource([])).recordings())


def test_artists_in_several_official_splits_are_counted() -> None:
    names = [("a", "The X", "train"), ("b", "X feat. Y", "test"), ("c", "Y", "test"), ("d", "Y", "test")]
    names += [("e", "Unknown Artist", "train"), ("f", "Unknown Artist", "test"), ("g", "", "train"), ("h", "", "test")]
    scan = scan_of(GivenSource([found(name, artist=artist, split=split) for name, artist, split in names]))
    list(scan.recordings())
    assert scan.artists_in_several_splits == 1


def test_one_artist_without_an_official_split_is_in_one_split() -> None:
    config = PreparationConfig.model_validate({"splits": {"validation": 0.3, "test": 0.3}})
    source = GivenSource([found(f"{number}", artist=f"artist {number % 20}") for number in range(200)])
    scan = scan_of(source, config=config)
    splits: dict[str, set[str]] = {}
    for recording in scan.recordings():
        splits.setdefault(recording.artist, set()).add(recording.split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(set.union(*splits.values())) == 3
    assert scan.artists_in_several_splits == 0


def test_a_source_is_read_once() -> None:
    calls: list[str] = []

    class Counted(GivenSource):
        def recordings(self, faults: Faults) -> Iterator[FoundRecording]:
            calls.append("read")
            return super().recordings(faults)

    titled = {"title": "One", "artist": "A", "channel": "C", "texts": {"short_form": ["One"]}}
    list(scan_of(Counted([found("a", **titled), found("b", **titled)])).recordings())
    assert calls == ["read"]
