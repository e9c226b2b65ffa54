import numpy as np
import pytest

from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.probes.splits import ProbeSplits
from mulan.evaluation.recordings import EmbeddedRecordings
from tests.evaluation.probes.planted import embedded, mixed_splits


def numbers(audio: EmbeddedRecordings) -> list[int]:
    """Each recording's vector is its number."""
    return audio.windows[:, 0].astype(int).tolist()


def test_the_splits_are_those_of_the_corpus() -> None:
    splits = ProbeSplits.of(embedded(np.arange(8)[:, None], splits=mixed_splits(8)), seed=0)
    assert [numbers(part) for part in (splits.train, splits.validation, splits.test)] == [[0, 2, 4, 6], [1, 5], [3, 7]]
    assert splits.counts == {"recordings": 2, "train_recordings": 4, "validation_recordings": 2}
    assert splits.sentence == "the settings were chosen on the validation split"


def test_a_validation_split_that_is_scored_chooses_nothing() -> None:
    audio = embedded(np.arange(80)[:, None], splits=mixed_splits(80))
    splits = ProbeSplits.of(audio, seed=0, scored="validation")
    assert numbers(splits.test) == list(range(1, 80, 4))
    assert sorted(numbers(splits.train) + numbers(splits.validation)) == list(range(0, 80, 2))
    assert splits.sentence.startswith("the validation split is the one that is scored, so the settings were chosen on")


def test_the_recordings_that_a_probe_is_trained_on_cannot_be_scored() -> None:
    with pytest.raises(EvaluationError, match="trained on the split train, so that they cannot be scored on it"):
        ProbeSplits.of(embedded(np.zeros((8, 1)), splits=mixed_splits(8)), seed=0, scored="train")


def without_validation(artists: list[str]) -> EmbeddedRecordings:
    names = [*artists, "of the test split"]
    splits = ["train"] * len(artists) + ["test"]
    return embedded(np.arange(len(names))[:, None], splits=splits, artists=names)


def test_without_a_validation_split_artists_of_the_training_split_are_held_out() -> None:
    artists = [f"artist {number % 30}" for number in range(100)]
    chosen = []
    for seed in (0, 0, 1):
        splits = ProbeSplits.of(without_validation(artists), seed=seed)
        train, held_out = numbers(splits.train), numbers(splits.validation)
        assert sorted(train + held_out) == list(range(100))
        assert {artists[row] for row in train}.isdisjoint(artists[row] for row in held_out)
        assert 10 <= len(held_out) <= 13
        assert numbers(splits.test) == [100]
        assert f"no validation split, so the settings were chosen on {len(held_out)} recordings" in splits.sentence
        assert "artists" in splits.sentence
        chosen.append(held_out)
    assert chosen[0] == chosen[1] != chosen[2]


@pytest.mark.parametrize("artists", [[""] * 50, ["the only one"] * 50])
def test_recordings_of_unknown_artists_or_of_the_only_one_are_held_out_one_by_one(artists: list[str]) -> None:
    splits = ProbeSplits.of(without_validation(artists), seed=0)
    assert (len(splits.train.recordings), len(splits.validation.recordings)) == (45, 5)


@pytest.mark.parametrize("seed", range(4))
def test_something_remains_to_train_on_and_to_choose_by(seed: int) -> None:
    splits = ProbeSplits.of(without_validation(["one"] * 99 + ["other"]), seed=seed)
    assert splits.are_filled
    assert not splits.where(lambda recording: recording.artist == "one").are_filled


@pytest.mark.parametrize(
    ("splits", "lacking"),
    [
        (["train", "train"], "lacks test;"),
        (["validation", "test"], "lacks train;"),
        (["validation", "validation"], "lacks train and test;"),
        (["train", "test"], "more than one recording"),
    ],
)
def test_an_absent_split_is_named(splits: list[str], lacking: str) -> None:
    with pytest.raises(EvaluationError, match=lacking):
        ProbeSplits.of(embedded(np.zeros((2, 1)), splits=splits), seed=0)
