import numpy as np
import pytest

from mulan.evaluation.metrics.resampling import Resampling
from mulan.evaluation.protocols.tag_table import WORST, TagTable


def test_the_averages_of_draws_are_over_the_tags_that_a_draw_leaves_defined() -> None:
    labels = np.zeros((12, 2), dtype=bool)
    labels[:6, 0] = labels[0, 1] = True  # a third of the draws has no recording with the second tag
    similarity = np.random.default_rng(0).normal(size=(12, 2))
    table = TagTable.of(similarity, labels, ["a:x", "a:y"], Resampling(12, replicates=100))
    undefined = np.isnan(table.roc_auc_draws[:, 1])
    assert 10 < undefined.sum() < 70
    np.testing.assert_array_equal(table.draws["roc_auc"][undefined], table.roc_auc_draws[undefined, 0])
    both = table.roc_auc_draws[~undefined].mean(axis=1)
    np.testing.assert_allclose(table.draws["roc_auc"][~undefined], both, rtol=1e-12)


def test_the_worst_tags_come_first() -> None:
    count = WORST + 5
    labels = np.eye(count, dtype=bool)
    tags = [f"a:{number:02}" for number in range(count)]
    similarity = np.eye(count) * np.where(np.arange(count) == 7, -1, 1)
    table = TagTable.of(similarity, labels, tags, Resampling(count, replicates=0))
    assert table.worst[:2] == ["a:07", "a:00"] and len(table.worst) == count // 2 < WORST
    assert table.draws == {}


def test_a_negation_that_is_mistaken_for_what_it_negates_is_shown() -> None:
    tags = ["a:vocals", "a:no vocals", "a:drums", "a:no drums"]
    labels = np.array([[True, False, False, False], [False, True, False, False]])
    voice, silence = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    prompts = np.stack([voice, voice, voice, silence])
    similarity = np.stack([voice, silence]) @ prompts.T
    first, second = TagTable.of(similarity, labels, tags, Resampling(2, replicates=0)).negations(tags, prompts)
    assert first == {
        "tag": "a:vocals",
        "negation": "a:no vocals",
        "roc_auc": 1.0,
        "negation_roc_auc": 0.0,
        "cosine": 1.0,
    }
    assert (second["tag"], second["roc_auc"]) == ("a:drums", None)  # no recording has the tag
    assert second["cosine"] == pytest.approx(0.6)
