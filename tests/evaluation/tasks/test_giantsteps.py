"""Tests the counts of the task of GiantSteps key on the genuine annotations."""

from pathlib import Path

from mulan.evaluation.tasks.giantsteps import GIANTSTEPS
from tests.evaluation.tasks.genuine import counts_of, giantsteps, random_model, scores_by_set


def test_the_probe_is_trained_on_jukemirs_split_of_songs(tmp_path: Path) -> None:
    (scores,) = scores_by_set(GIANTSTEPS, random_model(giantsteps(tmp_path)), "probes").values()
    assert counts_of(
        scores, "train_recordings", "validation_recordings", "recordings", "left_out", "classes", "tested_classes"
    ) == (923, 236, 604, 0, 24, 24)
    assert scores.scores["accuracy"] < 0.15 and scores.scores["weighted_score"] < 0.25
