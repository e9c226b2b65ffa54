"""Tests the counts of the task of GTZAN on the published lists."""

from mulan.evaluation.tasks.gtzan import GTZAN
from tests.evaluation.tasks.genuine import counts_of, gtzan, random_model, scores_by_set
from tests.public_metadata import expected_counts


def test_the_fault_filtered_test_list_is_classified() -> None:
    (scores,) = scores_by_set(GTZAN, random_model(gtzan(), replicates=5), "zero_shot").values()
    expected = expected_counts()["gtzan_filtered"]["test"]
    assert counts_of(scores, "recordings", "left_out", "tags", "positives") == (expected["n"], 0, 10, expected["n"])
    assert {row["tag"]: row["positives"] for row in scores.details["tags"]} == {
        f"genre:{genre}": count for genre, count in expected["per_genre"].items()
    }
    assert 0.04 < scores.scores["accuracy"] < 0.18  # chance is 0.1
    assert abs(scores.scores["roc_auc"] - 0.5) < 0.06


def test_the_probe_is_trained_on_the_fault_filtered_lists() -> None:
    (scores,) = scores_by_set(GTZAN, random_model(gtzan()), "probes").values()
    expected = expected_counts()["gtzan_filtered"]
    assert counts_of(scores, "train_recordings", "validation_recordings", "recordings", "left_out", "classes") == (
        *(expected[part]["n"] for part in ("train", "valid", "test")),
        0,
        10,
    )
    assert 0.03 < scores.scores["accuracy"] < 0.2  # chance is 0.1
