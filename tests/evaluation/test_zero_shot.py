import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mulan.evaluation.zero_shot import vocabulary, zero_shot_tagging
from tests.evaluation.planted import VOCABULARY, planted_evaluation

EAST, NORTH = np.array([1.0, 0.0]), np.array([0.0, 1.0])
NORTH_EAST = (EAST + NORTH) / np.sqrt(2)


def test_the_vocabulary_is_what_the_recordings_bear_sorted() -> None:
    tags = [["mood:sad", "genre:rock"], [], ["genre:jazz", "mood:sad"]]
    assert vocabulary(tags) == {"genre": ("jazz", "rock"), "mood": ("sad",)}
    assert list(vocabulary(tags)) == ["genre", "mood"]


def test_scores_follow_the_cosine_of_recording_and_prompt() -> None:
    audio = np.stack([EAST, NORTH_EAST, NORTH])
    tags = [["way:east"], ["way:north"], ["way:north"]]
    scores = zero_shot_tagging(audio, tags, {"way": {"east": EAST, "north": NORTH}})["way"]
    assert scores.roc_auc == 1.0
    swapped = zero_shot_tagging(audio, tags, {"way": {"east": NORTH, "north": EAST}})["way"]
    assert swapped.roc_auc == 0.0


def test_a_category_judges_only_the_recordings_that_bear_one_of_its_tags() -> None:
    audio = np.stack([EAST, NORTH, EAST, EAST])
    tags = [["way:east"], ["way:north"], [], ["mood:sad"]]
    scores = zero_shot_tagging(audio, tags, {"way": {"east": EAST, "north": NORTH}})["way"]
    assert scores.num_recordings == 2
    assert [score.num_positives for score in scores.per_tag] == [1, 1]


def test_planted_skill_is_measured_as_scikit_learn_measures_it() -> None:
    evaluation = planted_evaluation(recordings=60, noise=3.0)
    audio, tags = evaluation.recordings.embeddings, evaluation.recordings.tags
    for category, names in VOCABULARY.items():
        truth = np.array([[f"{category}:{text}" in of_recording for text in names] for of_recording in tags])
        similarity = audio.astype(np.float64) @ np.stack([evaluation.prompts[category][text] for text in names]).T
        scores = evaluation.zero_shot[category]
        assert 0.55 < scores.roc_auc < 0.95
        assert scores.roc_auc == pytest.approx(roc_auc_score(truth, similarity, average="macro"), abs=1e-6)
