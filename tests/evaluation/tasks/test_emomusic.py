"""Tests the counts of the task of Emomusic on the genuine ratings."""

from pathlib import Path

from mulan.evaluation.tasks.emomusic import EMOMUSIC
from tests.evaluation.tasks.genuine import counts_of, emomusic, random_model, scores_by_set


def test_the_probe_is_trained_on_the_split_of_calm(tmp_path: Path) -> None:
    (scores,) = scores_by_set(EMOMUSIC, random_model(emomusic(tmp_path)), "probes").values()
    counts = counts_of(scores, "train_recordings", "validation_recordings", "recordings", "left_out")
    assert counts == (504, 115, 125, 0)
    # the mean and deviation of the 619 development songs
    assert {name: round(value, 6) for name, value in scores.details["mean"].items()} == {
        "arousal": 4.756063,
        "valence": 4.973865,
    }
    assert {name: round(value, 6) for name, value in scores.details["deviation"].items()} == {
        "arousal": 1.38601,
        "valence": 1.254618,
    }
    assert -0.3 < scores.scores["r2"] < 0.1  # a constant has 0
