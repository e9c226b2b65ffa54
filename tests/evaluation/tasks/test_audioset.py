"""Tests the counts of the task of AudioSet on the genuine tables of segments."""

import pytest

from mulan.evaluation.protocols.protocol import Evaluated, SetScores
from mulan.evaluation.tasks.audioset import AUDIOSET
from mulan.vocabularies.vocabulary import vocabulary
from tests.evaluation.tasks.genuine import (
    assert_chance,
    audioset,
    counts_of,
    protocols_by_set,
    random_model,
    scores_by_set,
)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    return random_model(audioset(tmp_path_factory.mktemp("audioset")))


@pytest.fixture(scope="module")
def zero_shot(genuine: Evaluated) -> dict[str, SetScores]:
    return scores_by_set(AUDIOSET, genuine, "zero_shot")


@pytest.mark.parametrize("name", ["gen25", "mu141_without_roles", "mu141_without_moods"])
def test_each_list_has_its_evaluation_clips(genuine: Evaluated, zero_shot: dict[str, SetScores], name: str) -> None:
    tags = set(vocabulary(f"audioset_{name}").tags)
    labels = [tags & set(each.tags) for each in genuine.recordings if each.split == "test"]
    scores = zero_shot[f"audioset_{name}"]
    assert len(labels) == 20_371
    assert counts_of(scores, "recordings", "positives", "tags", "scored_tags") == (
        sum(map(bool, labels)),
        sum(map(len, labels)),
        len(tags),
        len(tags),
    )
    assert_chance(scores)


def test_the_lists_have_the_known_numbers_of_clips(zero_shot: dict[str, SetScores]) -> None:
    assert zero_shot["audioset_gen25"].counts["recordings"] == 1_288
    # without the roles there is the class Music itself, which most of the 7,848 clips with a class of music have
    assert zero_shot["audioset_mu141_without_roles"].counts["recordings"] == 7_830
    assert zero_shot["audioset_mu141_without_moods"].counts["recordings"] == 5_172


def test_all_protocols_are_of_the_clips_with_one_of_their_classes() -> None:
    assert [getattr(each, "recordings", "") for each in AUDIOSET.protocols] == ["tagged"] * 6


def test_the_probe_of_genres_has_such_clips_of_both_tables(genuine: Evaluated) -> None:
    genres = set(vocabulary("audioset_gen25").tags)
    of_genres = [each for each in genuine.recordings if genres & set(each.tags)]
    others = [each for each in genuine.recordings if not genres & set(each.tags)][:200]  # which are left out
    model = random_model([*of_genres, *others], dim=2)
    (scores,) = protocols_by_set(AUDIOSET, "probes")["audioset_gen25"].evaluate(model)
    train = [each for each in of_genres if each.split == "train"]
    assert scores.counts["recordings"] == 1_288 and len(train) > 1_000
    assert scores.counts["train_recordings"] + scores.counts["validation_recordings"] == len(train)
    assert counts_of(scores, "tags", "scored_tags", "untrained_tags", "untagged") == (25, 25, 0, 0)
    assert_chance(scores)
