"""Tests which triplets are drawn: true positives, wrong negatives, and the same ones each time."""

import json
from collections import Counter
from pathlib import Path

import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.protocols.triplet_sources import (
    OntologyTriplets,
    PlaylistTriplets,
    RecordingTriplets,
    Triplet,
    TripletSource,
)
from mulan.evaluation.recordings import LabelledRecording
from mulan.vocabularies.audioset_classes import class_list


def recording(number: int, *, split: str = "test", **texts: tuple[str, ...]) -> LabelledRecording:
    return LabelledRecording(f"r{number:03}", split, texts=texts)


@pytest.fixture
def ontology(tmp_path: Path) -> str:
    classes = class_list("mu_141_without_roles").classes
    entries = [{"id": mid, "name": name, "description": f"About {name}"} for mid, name in classes.items()]
    (tmp_path / "ontology.json").write_text(json.dumps(entries))
    return str(tmp_path / "ontology.json")


def test_each_class_of_the_ontology_has_five_other_descriptions(ontology: str) -> None:
    drawn = OntologyTriplets(ontology).draw((), 0)
    assert len(drawn.triplets) == len(set(drawn.triplets)) == 141 * 5
    assert set(Counter(each.anchor for each in drawn.triplets).values()) == {5}
    assert all(each.positive == f"About {each.anchor}" != each.negative for each in drawn.triplets)
    assert len({each.negative for each in drawn.triplets}) > 100
    assert drawn.triplets == OntologyTriplets(ontology).draw((), 0).triplets
    assert drawn.triplets != OntologyTriplets(ontology).draw((), 1).triplets


def playlists(count: int, size: int = 3) -> list[LabelledRecording]:
    return [
        recording(
            number,
            playlist=(f"title {number // size}", "everything"),
            long_form=(f"Description {number // size}.", f"About recording {number}."),
        )
        for number in range(count * size)
    ]


def test_a_description_belongs_to_the_title_of_the_same_recordings() -> None:
    drawn = PlaylistTriplets().draw(playlists(40), 0)
    assert len(drawn.triplets) == len(set(drawn.triplets)) == 200  # five of each
    for each in drawn.triplets:
        number = each.anchor.removeprefix("title ")
        assert each.positive == f"Description {number}." != each.negative
        assert each.negative.startswith("Description ")


def test_where_there_are_enough_playlists_each_is_drawn_once() -> None:
    drawn = PlaylistTriplets(count=30).draw(playlists(40), 0)
    assert len({each.anchor for each in drawn.triplets}) == len(drawn.triplets) == 30
    uneven = PlaylistTriplets(count=50).draw(playlists(40), 0)
    assert len(uneven.triplets) == 50


def test_equal_texts_and_texts_of_the_same_recordings_are_never_negatives() -> None:
    one = [recording(n, playlist=("calm",), long_form=("Rest.", "Sleep well.")) for n in range(2)]
    two = [recording(n, playlist=("quiet",), long_form=("REST. ",)) for n in range(2, 4)]
    three = [recording(n, playlist=("loud",), long_form=("Noise.",)) for n in range(4, 6)]
    triplets = PlaylistTriplets().draw([*one, *two, *three], 0).triplets
    negatives = {(each.anchor, each.negative) for each in triplets}
    assert {pair for pair in negatives if pair[0] != "loud"} == {("calm", "Noise."), ("quiet", "Noise.")}
    # of two texts that are equal but for case and blanks only one
    assert {pair for pair in negatives if pair[0] == "loud"} in ({("loud", "Rest.")}, {("loud", "REST. ")})


def test_the_long_texts_of_recordings_with_the_same_short_text_are_no_negatives() -> None:
    recordings = [
        recording(n, short_form=(f"style {n % 2}",), long_form=(f"A {n % 2} recording, number {n}.",))
        for n in range(20)
    ]
    recordings.append(recording(30, split="train", short_form=("style 3",), long_form=("A training recording.",)))
    triplets = RecordingTriplets().draw(recordings, 0).triplets
    assert len(triplets) == 20 * 5
    for each in triplets:
        style = each.anchor.removeprefix("style ")
        assert each.positive.startswith(f"A {style} ")
        assert each.negative.startswith(f"A {1 - int(style)} ")
    assert RecordingTriplets(count=7).draw(recordings, 0).triplets != triplets[:7]
    assert len(RecordingTriplets(count=7).draw(recordings, 0).triplets) == 7


def test_recordings_need_both_texts() -> None:
    recordings = [
        recording(0, short_form=("a",), long_form=("A.",)),
        recording(1, short_form=("b",)),
        recording(2, long_form=("C.",)),
        recording(3, short_form=("d",), long_form=("D.",)),
    ]
    assert set(RecordingTriplets().draw(recordings, 0).triplets) == {
        Triplet("a", "A.", "D."),
        Triplet("d", "D.", "A."),
    }


@pytest.mark.parametrize("source", [PlaylistTriplets(), RecordingTriplets()])
@pytest.mark.parametrize("count", [0, 1])
def test_without_two_texts_there_are_no_triplets(source: TripletSource, count: int) -> None:
    recordings = [recording(n, playlist=("a",), short_form=("a",), long_form=("b",)) for n in range(2 * count)]
    with pytest.raises(EvaluationError, match=r"no two .* of the split 'test' have .*, which triplets need"):
        source.draw(recordings, 0)
