"""Tests the counts of the task of MTG-Jamendo on the genuine lists of split 0."""

from dataclasses import replace

import pytest

from mulan.evaluation.protocols.probe import TaggingProbe
from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.tasks.mtg_jamendo import MTG_JAMENDO
from tests.evaluation.tasks.genuine import (
    assert_chance,
    counts_of,
    jamendo,
    protocols_by_set,
    random_model,
    scores_by_set,
)
from tests.public_metadata import expected_counts


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return random_model(jamendo(tmp_path_factory.mktemp("jamendo")))


@pytest.fixture(scope="module")
def zero_shot(genuine: Evaluated) -> dict[str, SetScores]:
    return scores_by_set(MTG_JAMENDO, genuine, "zero_shot")


@pytest.mark.parametrize(
    ("subset", "official", "tracks", "tags"),
    [
        ("top50", "top50tags", 11_356, 50),
        ("genre", "genre", 11_479, 87),
        ("instrument", "instrument", 5_115, 40),
        ("moodtheme", "moodtheme", 4_231, 56),
        ("all", "all", 11_565, 183),
    ],
)
def test_each_subset_has_the_counts_of_its_official_list(
    zero_shot: dict[str, SetScores], subset: str, official: str, tracks: int, tags: int
) -> None:
    expected = expected_counts()["mtg_jamendo"][f"split-0/{official}"]["test"]
    scores = zero_shot[f"jamendo_{subset}"]
    assert counts_of(scores, "recordings", "untagged", "tags", "scored_tags") == (tracks, 0, tags, tags)
    assert counts_of(scores, "recordings", "positives", "artists_or_recordings") == (
        expected["tracks"],
        expected["labels"],
        expected["artists"],
    )
    assert {row["tag"].replace(":", "---"): row["positives"] for row in scores.details["tags"]} == expected[
        "tag_counts"
    ]
    assert_chance(scores)


def test_all_protocols_are_of_the_tracks_with_one_of_their_tags() -> None:
    assert [getattr(each, "recordings", "") for each in MTG_JAMENDO.protocols] == ["tagged"] * 10


@pytest.mark.parametrize(("subset", "tags"), [("instrument", 40), ("moodtheme", 56)])
def test_probes_have_the_tracks_of_the_official_parts(genuine: Evaluated, subset: str, tags: int) -> None:
    expected = expected_counts()["mtg_jamendo"][f"split-0/{subset}"]
    probe = protocols_by_set(MTG_JAMENDO, "probes")[f"jamendo_{subset}"]
    assert isinstance(probe, TaggingProbe) and (probe.head, probe.recordings) == ("mlp", "tagged")
    (scores,) = replace(probe, head="logistic").evaluate(random_model(genuine.recordings, dim=2))  # which is faster
    assert counts_of(scores, "train_recordings", "validation_recordings", "recordings") == tuple(
        expected[part]["tracks"] for part in ("train", "validation", "test")
    )
    assert counts_of(scores, "tags", "scored_tags", "untrained_tags") == (tags, tags, 0)
    assert_chance(scores)
