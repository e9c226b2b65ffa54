import itertools

import numpy as np
import pytest
from mir_eval.key import weighted_score

from mulan.evaluation.metrics.keys import weighted_key_scores
from mulan.vocabularies.vocabulary import vocabulary

KEYS = tuple(tag.removeprefix("key:") for tag in vocabulary("keys").tags)


def by_semitones(truth: str, predicted: str) -> float:
    """The definition of MIREX, by the numbers of the keys: major keys of all tonics from C on, then minor keys."""
    (mode, tonic), (other_mode, other) = divmod(KEYS.index(truth), 12), divmod(KEYS.index(predicted), 12)
    if mode == other_mode:
        return {0: 1.0, 7: 0.5}.get((other - tonic) % 12, 0.0)
    relative = 9 if mode == 0 else 3
    return {relative: 0.3, 0: 0.2}.get((other - tonic) % 12, 0.0)


def test_scores_of_all_pairs_of_keys_are_those_of_the_definition() -> None:
    truth, predicted = zip(*itertools.product(KEYS, KEYS), strict=True)
    scores = weighted_key_scores(truth, predicted)
    assert len(scores) == 24 * 24
    assert scores == pytest.approx([by_semitones(*pair) for pair in zip(truth, predicted, strict=True)], abs=1e-12)
    assert scores == pytest.approx([weighted_score(*pair) for pair in zip(truth, predicted, strict=True)], abs=1e-12)


def test_constant_keys_score_the_mean_over_the_relations() -> None:
    assert weighted_key_scores(KEYS, ["C major"] * 24).mean() == pytest.approx((1 + 0.5 + 0.3 + 0.2) / 24)
    assert np.array_equal(weighted_key_scores([], []), np.zeros(0))
