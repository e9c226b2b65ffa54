"""The control finds chance where the pairing is shuffled, however good the model is."""

import numpy as np
import pytest

from mulan.evaluation.control import mean_over_categories, shuffled_control
from mulan.evaluation.zero_shot import zero_shot_tagging
from tests.evaluation.planted import VOCABULARY, planted_evaluation

EAST, NORTH = np.array([1.0, 0.0]), np.array([0.0, 1.0])


def test_the_shuffled_control_is_at_chance_although_the_model_is_perfect() -> None:
    evaluation = planted_evaluation(noise=0.0)
    assert evaluation.roc_auc > 0.95
    assert evaluation.retrieval is not None
    assert evaluation.retrieval.median_rank == 1
    control = evaluation.control
    assert control.roc_auc == pytest.approx(0.5, abs=0.02)
    assert control.min_roc_auc < control.roc_auc < control.max_roc_auc
    assert set(control.per_category) == set(VOCABULARY)
    assert list(control.per_category.values()) == pytest.approx([0.5] * 4, abs=0.03)
    assert control.median_rank == pytest.approx(60.5, abs=8)
    assert control.recall10 == pytest.approx(10 / 120, abs=0.03)


def test_the_control_is_seeded() -> None:
    one = planted_evaluation(recordings=30)
    arguments = (one.recordings.embeddings, one.recordings.tags, one.prompts, one.query_embeddings, one.query_gold)
    assert shuffled_control(*arguments, seed=3) == shuffled_control(*arguments, seed=3)
    assert shuffled_control(*arguments, seed=3) != shuffled_control(*arguments, seed=4)


def test_categories_without_a_score_do_not_enter_the_mean() -> None:
    tags = [["way:east", "kind:same"], ["way:north", "kind:same"]]
    prompts = {"way": {"east": EAST, "north": NORTH}, "kind": {"same": EAST}}
    scores = zero_shot_tagging(np.stack([EAST, NORTH]), tags, prompts)
    assert scores["kind"].skipped == ("same",)
    assert mean_over_categories(scores) == 1.0
