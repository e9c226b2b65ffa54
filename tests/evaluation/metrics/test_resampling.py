import warnings

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mulan.evaluation.metrics import resampling
from mulan.evaluation.metrics.resampling import Resampling, interval_of


def all_draws(resampling: Resampling) -> np.ndarray:
    return np.concatenate(list(resampling.multiplicities()))


def test_the_scores_of_a_draw_are_those_of_the_repeated_recordings() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.integers(0, 5, size=(30, 3)) / 4, rng.random((30, 3)) < 0.3
    draws = Resampling(30, replicates=40, seed=1)
    aucs, precisions = draws.tagging(scores, truth)
    assert aucs.shape == precisions.shape == (40, 3)
    for replicate, counts in enumerate(all_draws(draws)):
        rows = np.repeat(np.arange(30), counts.astype(int))
        for tag in range(3):
            assert aucs[replicate, tag] == pytest.approx(roc_auc_score(truth[rows, tag], scores[rows, tag]), abs=1e-9)
            expected = average_precision_score(truth[rows, tag], scores[rows, tag])
            assert precisions[replicate, tag] == pytest.approx(expected, abs=1e-9)


def test_a_draw_without_positives_or_negatives_is_undefined_without_a_warning() -> None:
    truth = np.array([[True, True], [False, True], [False, True]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aucs, precisions = Resampling(3, replicates=50).tagging(np.arange(6.0).reshape(3, 2), truth)
    assert np.isnan(aucs[:, 1]).all()
    undefined = np.isnan(aucs[:, 0])
    assert 0 < undefined.sum() < 50
    assert (np.isnan(precisions) == np.isnan(aucs)).all()
    assert np.isnan(interval_of(aucs[:, 1], 0.5).low)
    assert interval_of(aucs[~undefined, 0], 0.5) == interval_of(aucs[:, 0], 0.5)


def test_recordings_of_a_group_are_drawn_together_and_unknown_groups_alone() -> None:
    draws = Resampling(["a", "", "b", "a", "", "b"], replicates=200, seed=2)
    counts = all_draws(draws)
    assert draws.num_groups == 4
    assert (counts[:, 0] == counts[:, 3]).all()
    assert (counts[:, 2] == counts[:, 5]).all()
    assert (counts[:, 1] != counts[:, 4]).any()
    assert (counts[:, [0, 1, 2, 4]].sum(axis=1) == 4).all()


def test_draws_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = all_draws(Resampling(10, replicates=30, seed=3))
    monkeypatch.setattr(resampling, "_NUMBERS_AT_ONCE", 40)
    assert (all_draws(Resampling(10, replicates=30, seed=3)) == expected).all()
    assert not (all_draws(Resampling(10, replicates=30, seed=4)) == expected).all()


def test_the_mean_of_a_draw_is_over_the_recordings_that_have_a_value() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0])
    draws = Resampling(4, replicates=25, seed=5)
    for mean, counts in zip(draws.means(values), all_draws(draws), strict=True):
        repeated = np.repeat(values, counts.astype(int))
        assert mean == pytest.approx(np.nanmean(repeated), nan_ok=True)


@pytest.mark.parametrize("count", [2, 4, 7])
def test_medians_of_draws_are_those_of_repeated_recordings(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 5, size=count)
    draws = Resampling(count, replicates=25, seed=5)
    expected = [np.median(np.repeat(values, counts.astype(int))) for counts in all_draws(draws)]
    assert draws.medians(values).tolist() == expected


def test_several_values_of_each_recording_have_the_means_of_each() -> None:
    draws = Resampling(7, replicates=30)
    values = np.random.default_rng(0).normal(size=(7, 3))
    values[2, 1] = np.nan
    expected = np.stack([draws.means(each) for each in values.T], axis=1)
    np.testing.assert_allclose(draws.means(values), expected, rtol=1e-12, atol=1e-15)


def test_without_draws_there_are_no_scores_and_no_interval() -> None:
    draws = Resampling(4, replicates=0)
    aucs, precisions = draws.tagging(np.zeros((4, 2)), np.eye(4, 2, dtype=bool))
    assert aucs.shape == precisions.shape == (0, 2)
    assert draws.means(np.ones(4)).shape == draws.medians(np.ones(4)).shape == (0,)
    assert np.isnan(interval_of(draws.means(np.ones(4)), 1.0).high)


def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_claims() -> None:
    rng = np.random.default_rng(6)
    covered = 0
    for trial in range(200):
        values = rng.normal(size=60)
        interval = interval_of(Resampling(60, replicates=200, seed=trial).means(values), values.mean())
        covered += interval.low <= 0 <= interval.high
    assert 0.88 < covered / 200 < 0.99


def test_an_interval_contains_its_score_although_draws_are_biased() -> None:
    truth = np.zeros((40, 1), dtype=bool)
    truth[:2] = True
    scores = np.random.default_rng(7).normal(size=(40, 1))
    draws = Resampling(40, replicates=300).tagging(scores, truth)[1][:, 0]
    score = average_precision_score(truth[:, 0], scores[:, 0])
    assert np.nanmean(draws) > score
    interval = interval_of(draws, score)
    assert 0 <= interval.low <= score <= interval.high <= 1
    shift = score - np.nanmean(draws)
    assert interval.high == pytest.approx(np.nanpercentile(draws, 97.5) + shift, abs=0.03)
    assert interval.high in draws


def test_an_exchanged_pair_of_neighbours_is_no_difference_between_models() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((25, 1), dtype=bool)
    truth[[3, 11, 19]] = True
    scores = rng.normal(size=(25, 1))
    order = np.argsort(scores[:, 0])
    place = next(k for k in range(24) if truth[order[k + 1], 0] and not truth[order[k], 0])
    exchanged = scores.copy()
    exchanged[order[[place, place + 1]]] = scores[order[[place + 1, place]]]
    resampling = Resampling(25)
    one, other = (resampling.tagging(each, truth)[0][:, 0] for each in (scores, exchanged))
    difference = roc_auc_score(truth, exchanged) - roc_auc_score(truth, scores)
    assert difference < 0 and np.mean(other - one == 0) > 0.5
    assert interval_of(other - one, difference).high == 0


def test_equally_good_models_are_called_different_as_rarely_as_claimed() -> None:
    rng = np.random.default_rng(1)
    different = 0
    for trial in range(100):
        truth = np.zeros((60, 1), dtype=bool)
        truth[:12] = True
        skill = truth + rng.normal(size=(60, 1))
        models = [skill + 0.5 * rng.normal(size=(60, 1)) for _ in range(2)]
        resampling = Resampling(60, replicates=200, seed=trial)
        draws = [resampling.tagging(each, truth)[0][:, 0] for each in models]
        score = roc_auc_score(truth, models[1]) - roc_auc_score(truth, models[0])
        interval = interval_of(draws[1] - draws[0], score)
        different += interval.low > 0 or interval.high < 0
    assert different <= 13


def test_an_interval_stays_in_the_range_of_the_score() -> None:
    assert interval_of(np.array([0.9, 0.95, 1.0]), 1.0).high == 1.0
    assert interval_of(np.array([0.2, 0.3, 0.9]), 0.1).low == 0.1


def test_a_single_group_has_no_draws_and_no_interval() -> None:
    draws = Resampling(["a", "a", "a"], replicates=10)
    assert (draws.num_groups, draws.replicates, len(draws.means(np.arange(3.0)))) == (1, 0, 0)
    assert np.isnan(interval_of(draws.means(np.arange(3.0)), 1.0).low)
    assert Resampling(["", ""], replicates=10).replicates == 10
