"""What a corpus states is read without audio; what it states wrongly is skipped."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from mulan.data.corpus.index import Corpus, Location
from mulan.data.errors import BadRecording
from mulan.evaluation.embedding.indexed import IndexedRecording
from mulan.evaluation.embedding.labels import labels_from_json, labels_to_json, read_labels, with_labels
from tests.evaluation.embedding.damaged_recordings import recordings

INDEXED = IndexedRecording(0, "Ünïcode", "test", ("genre:jazz", "key:C♯"), 1.0, Location("a.tar", 0, 512))
FULL: dict[str, Any] = {
    "texts": {"short_form": ["a", "b"], "long_form": []},
    "artist": "Ann",
    "title": "Tune",
    "targets": {"arousal": 0.25, "pitch": 60},
}


def test_labels_are_read_whether_or_not_the_audio_can_be_decoded(damaged: Corpus) -> None:
    seen: list[tuple[int, int]] = []
    labels = read_labels(damaged, ["test", "train"], on_progress=lambda *numbers: seen.append(numbers))
    made = recordings()
    assert [each.recording_id for each in labels.recordings] == [each.recording_id for each in made]
    assert [dict(each.texts or {}) for each in labels.recordings] == [
        {source: tuple(texts) for source, texts in each.texts.items()} for each in made
    ]
    assert [each.tags for each in labels.recordings] == [tuple(each.tags) for each in made]
    assert (labels.skipped, seen) == ({}, [(20, 20)])


def test_a_shard_that_is_missing_is_the_reason_of_its_recordings(damaged: Corpus) -> None:
    uris = damaged.table["uri"].to_pylist()
    elsewhere = pa.array(["nowhere.tar" if uri.endswith("0.tar") else uri for uri in uris])
    moved = damaged.table.set_column(1, "uri", elsewhere.dictionary_encode())
    labels = read_labels(replace(damaged, table=moved), ["test", "train"])
    assert len(labels.skipped) == 7 and len(labels.recordings) == 13
    assert all(reason.startswith("missing shard") for reason in labels.skipped.values())


def test_labels_survive_json() -> None:
    found = with_labels(INDEXED, FULL)
    assert (found.texts, found.targets) == ({"short_form": ("a", "b")}, {"arousal": 0.25, "pitch": 60.0})
    assert (found.artist, found.title, found.tags) == ("Ann", "Tune", INDEXED.tags)
    assert labels_from_json("Ünïcode", "test", labels_to_json(found)) == found
    bare = with_labels(INDEXED, {"texts": {}})
    assert (bare.texts, bare.targets, bare.artist) == ({}, None, "")
    assert labels_from_json("Ünïcode", "test", labels_to_json(bare)) == bare


def test_unknown_names_are_empty_and_all_names_can_be_written() -> None:
    found = with_labels(INDEXED, {"texts": {}, "artist": None, "title": "a\ud800b"})
    assert (found.artist, found.title) == ("", "a?b")


@pytest.mark.parametrize(
    "wrong",
    [
        {"texts": ["a"]},
        {"texts": {"short_form": [" "]}},
        {"texts": {}, "targets": {"key": "C"}},
        {"texts": {}, "targets": {"arousal": float("nan")}},
        {"texts": {}, "targets": {"arousal": 10**400}},
        {"texts": {}, "targets": {"arousal": True}},
        {"texts": {}, "targets": [1.0]},
    ],
)
def test_wrong_metadata_are_a_bad_recording(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRecording):
        with_labels(INDEXED, wrong)


def test_other_json_is_refused() -> None:
    for other in ("", "[]", "{}", json.dumps({"tags": [], "texts": 3})):
        with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
            labels_from_json("a", "test", other)
