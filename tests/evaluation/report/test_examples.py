"""Examples show what was found; a sound is in the page once, and first hits are heard first."""

from typing import Any

import pytest

from mulan.evaluation.report.examples import example_sets, heard_recordings
from mulan.evaluation.report.sounds import Excerpts, HeardRecording
from mulan.evaluation.report.summary import summarize
from tests.evaluation.report.planted_report import MODELS, ODD, encoder_info, planted_scores

SET = ("retrieval.captions", "song_describer")


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summarize(planted_scores(MODELS[:1]), models=[encoder_info(MODELS[0])], tasks=[])


def test_the_first_hits_of_all_queries_are_heard_first(summary: dict[str, Any]) -> None:
    found = heard_recordings(summary)
    assert {(each.section, each.set_name) for each in found} == {SET}
    assert [each.recording_id for each in found] == [f"rec-{number:03d}" for number in (0, 1, 9, 2, 10, 3, 11)]


def test_queries_have_their_hits_with_titles_tags_and_sounds(summary: dict[str, Any]) -> None:
    first, second, third = (HeardRecording(*SET, f"rec-{number:03d}") for number in (0, 1, 2))
    sounds = Excerpts({first: b"one", second: b"two", third: b"one"}, {HeardRecording(*SET, "rec-003"): "too large"})
    (found,) = example_sets(summary, sounds)
    assert (found.title, found.num_recordings) == ("Captions to music: song_describer", 547)
    query, other, _ = found.queries
    assert (query.text, query.rank, query.num_relevant) == (f"query 0 {ODD}", 1, 1)
    assert [(hit.recording_id, hit.is_relevant, hit.sound, bool(hit.uri)) for hit in query.hits] == [
        ("rec-000", True, 1, True),
        ("rec-001", False, 2, True),
        ("rec-002", False, 1, False),  # the same sound as that of the first hit
    ]
    assert query.hits[0].title == "A song"
    assert query.hits[0].tags == ", ".join(f"tag {number}" for number in range(12)) + " and 2 more"
    assert query.hits[1].title == query.hits[1].tags == ""
    assert (other.hits[2].sound, other.hits[2].missing) == (0, "too large")


def test_sets_without_examples_are_left_out() -> None:
    found = {"one": [each for each in planted_scores()[MODELS[0]] if each.section == "triplets"]}
    made = summarize(found, models=[encoder_info("one")], tasks=[])
    assert (heard_recordings(made), example_sets(made, Excerpts())) == ([], [])
