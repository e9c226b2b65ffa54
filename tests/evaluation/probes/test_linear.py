import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mulan.evaluation.probes.linear import INVERSE_PENALTIES, PENALTIES, fit_logistic, fit_ridge
from mulan.evaluation.probes.probe import LabelledVectors, ProbeData, accuracy_of_best, mean_r2, mean_roc_auc
from tests.evaluation.probes.planted import embedded

DIM = 6


def noisy_tags(seed: int, recordings: int = 120, tags: int = 4, noise: float = 2.0) -> LabelledVectors:
    """The weights are the same for all seeds, and each dimension has a scale of its own."""
    weight = np.random.default_rng(99).normal(size=(DIM, tags))
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(recordings, DIM)).astype(np.float32)
    truth = vectors @ weight + noise * rng.normal(size=(recordings, tags)) > 0.5
    return LabelledVectors(embedded(5 + vectors * 10.0 ** np.arange(-2, DIM - 2)), truth)


def tag_data(train: LabelledVectors, validation: LabelledVectors) -> ProbeData:
    return ProbeData("tags", train.truth.shape[1], train, validation, mean_roc_auc, seed=0)


def test_logistic_regression_of_tags_is_that_of_scikit_learn_with_the_best_setting_on_validation() -> None:
    train, validation, test = noisy_tags(0), noisy_tags(1), noisy_tags(2)
    probe = fit_logistic(tag_data(train, validation))
    expected = {}
    for strength in INVERSE_PENALTIES:
        models = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-8)).fit(train.audio.means, column)
            for column in train.truth.T
        ]
        held_out = [model.decision_function(validation.audio.means) for model in models]
        quality = np.mean([roc_auc_score(*pair) for pair in zip(validation.truth.T, held_out, strict=True)])
        expected[strength] = (quality, np.stack([model.decision_function(test.audio.means) for model in models], 1))
    best = max(expected, key=lambda strength: expected[strength][0])
    assert probe.chosen["C"] == best
    assert probe.chosen["validation_quality"] == pytest.approx(expected[best][0], abs=1e-3)
    assert list(probe.chosen["candidates"]) == [f"{strength:g}" for strength in INVERSE_PENALTIES]
    predicted = probe.predict(test.audio)
    assert predicted.shape == (1, 120, 4)
    assert predicted[0] == pytest.approx(expected[best][1], abs=0.01)


def test_labels_of_the_validation_split_choose_the_setting() -> None:
    train, validation = noisy_tags(3), noisy_tags(4)
    inverted = LabelledVectors(validation.audio, ~validation.truth)
    one, other = (fit_logistic(tag_data(train, held_out)).chosen["candidates"] for held_out in (validation, inverted))
    assert [1 - quality for quality in one.values()] == pytest.approx(list(other.values()))


def test_of_equally_good_settings_the_strongest_regularisation_is_kept() -> None:
    train = noisy_tags(6)
    nothing = LabelledVectors(train.audio, np.zeros_like(train.truth))
    probe = fit_logistic(tag_data(train, nothing))
    assert probe.chosen["C"] == min(INVERSE_PENALTIES)
    assert probe.chosen["validation_quality"] is None


@pytest.mark.parametrize("present", [(0, 2, 3), (1, 3)])
def test_classes_without_recordings_to_train_on_are_never_predicted(present: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    truth = rng.choice(present, size=90)
    centres = rng.normal(size=(4, DIM)) * 4
    audio = embedded(centres[truth] + rng.normal(size=(90, DIM)))
    labelled = LabelledVectors(audio, truth)
    probe = fit_logistic(ProbeData("class", 4, labelled, labelled, accuracy_of_best, seed=0))
    scores = probe.predict(audio)[0]
    assert scores.shape == (90, 4)
    assert (np.isinf(scores).all(axis=0) == ~np.isin(np.arange(4), present)).all()
    model = LogisticRegression(C=probe.chosen["C"], tol=1e-8)
    expected = make_pipeline(StandardScaler(), model).fit(audio.means, truth).predict(audio.means)
    assert (scores.argmax(axis=1) == expected).mean() > 0.98
    assert accuracy_of_best(truth, scores) > 0.95


def test_ridge_regression_is_that_of_scikit_learn_with_the_best_setting_on_validation() -> None:
    weight = np.random.default_rng(8).normal(size=(DIM, 2))

    def numbers(seed: int) -> LabelledVectors:
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(60, DIM)).astype(np.float32)
        return LabelledVectors(embedded(vectors), vectors @ weight + 3 * rng.normal(size=(60, 2)))

    train, validation, test = numbers(9), numbers(10), numbers(11)
    probe = fit_ridge(ProbeData("numbers", 2, train, validation, mean_r2, seed=0))
    models = {
        alpha: make_pipeline(StandardScaler(), Ridge(alpha=alpha)).fit(train.audio.means, train.truth)
        for alpha in PENALTIES
    }
    best = max(models, key=lambda alpha: r2_score(validation.truth, models[alpha].predict(validation.audio.means)))
    assert probe.chosen["alpha"] == best
    assert probe.predict(test.audio)[0] == pytest.approx(models[best].predict(test.audio.means), abs=1e-5)
