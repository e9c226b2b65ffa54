import tracemalloc

import numpy as np
import pytest
import torch

from mulan.evaluation.probes import mlp
from mulan.evaluation.probes.linear import fit_logistic
from mulan.evaluation.probes.mlp import RUNS, fit_mlp
from mulan.evaluation.probes.probe import (
    LabelledVectors,
    ProbeData,
    Quality,
    TargetKind,
    accuracy_of_best,
    mean_r2,
    mean_roc_auc,
)
from mulan.evaluation.probes.splits import ProbeSplits
from tests.evaluation.probes.planted import embedded, mixed_splits

QUALITIES: dict[TargetKind, Quality] = {"tags": mean_roc_auc, "class": accuracy_of_best, "numbers": mean_r2}


@pytest.fixture
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "MAX_EPOCHS", 3)


def corners(seed: int, kind: TargetKind, recordings: int = 128) -> LabelledVectors:
    """Whether two signs are equal, which no linear map of the vectors tells."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], size=(recordings, 2))
    equal = signs[:, 0] == signs[:, 1]
    vectors = np.concatenate([signs, np.zeros((recordings, 1))], axis=1) + 0.1 * rng.normal(size=(recordings, 3))
    truth = {"tags": np.stack([equal, ~equal], 1), "class": equal.astype(np.int64), "numbers": 3.0 * equal[:, None] - 1}
    return LabelledVectors(embedded(7 + vectors), truth[kind])


def data_of(kind: TargetKind, outputs: int, seed: int = 0) -> ProbeData:
    return ProbeData(kind, outputs, corners(1, kind), corners(2, kind), QUALITIES[kind], seed)


@pytest.mark.parametrize(("kind", "outputs"), [("tags", 2), ("class", 2), ("numbers", 1)])
def test_it_learns_what_no_linear_map_can(kind: TargetKind, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "MAX_EPOCHS", 40)
    data, test = data_of(kind, outputs), corners(3, kind)
    predicted = fit_mlp(data).predict(test.audio)
    assert predicted.shape == (RUNS, 128, outputs)
    assert predicted.dtype == np.float64
    assert min(QUALITIES[kind](test.truth, run) for run in predicted) > 0.9
    assert (predicted[0] != predicted[1]).any()
    if kind != "numbers":
        assert QUALITIES[kind](test.truth, fit_logistic(data).predict(test.audio)[0]) < 0.75


@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize(("kind", "outputs"), [("tags", 2), ("class", 2), ("numbers", 1)])
def test_the_prediction_of_a_recording_is_the_mean_over_its_windows(kind: TargetKind, outputs: int) -> None:
    rng = np.random.default_rng(4)
    windows = [rng.normal(size=(count, 3)) for count in (1, 3, 2)]
    probe = fit_mlp(data_of(kind, outputs))
    of_windows = probe.predict(embedded(np.concatenate(windows)))
    means = np.stack([of_windows[:, rows].mean(axis=1) for rows in ([0], [1, 2, 3], [4, 5])], axis=1)
    assert probe.predict(embedded(windows)) == pytest.approx(means, abs=1e-6)
    if kind == "tags":
        assert ((means > 0) & (means < 1)).all()
    if kind == "class":  # logarithms of probabilities
        assert np.exp(of_windows).sum(axis=2) == pytest.approx(1, abs=1e-6)


@pytest.mark.usefixtures("few_epochs")
def test_calls_give_identical_numbers_and_leave_the_random_state_alone() -> None:
    test = corners(5, "tags").audio
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = fit_mlp(data_of("tags", 2))
    assert (torch.random.get_rng_state() == before).all()
    torch.manual_seed(2)
    other = fit_mlp(data_of("tags", 2))
    assert (one.predict(test) == other.predict(test)).all()
    assert one.chosen == other.chosen
    assert (one.predict(test) != fit_mlp(data_of("tags", 2, seed=1)).predict(test)).any()


def test_an_epoch_sees_each_recording_once_and_several_epochs_all_its_windows() -> None:
    starts, rng, seen = np.array([0, 3, 4, 70, 72]), np.random.default_rng(0), set()
    for _ in range(400):
        recordings, rows = (np.concatenate(parts) for parts in zip(*mlp._batches(starts, rng), strict=True))
        assert sorted(recordings.tolist()) == [0, 1, 2, 3]
        assert ((starts[recordings] <= rows) & (rows < starts[recordings + 1])).all()
        seen |= set(rows.tolist())
    assert len(seen) > 65
    assert seen >= {0, 1, 2, 3, 70, 71}


def test_the_epoch_of_the_highest_quality_is_kept_and_training_ends_when_it_does_not_rise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mlp, "PATIENCE_EPOCHS", 4)
    monkeypatch.setattr(mlp, "PLATEAU_EPOCHS", 1)
    monkeypatch.setattr(mlp, "RUNS", 1)
    course = [0.1, 0.5, 0.2, 0.3, 0.6, 0.6, 0.5, 0.4, 0.3, 0.9]
    predictions: list[np.ndarray] = []

    def scripted(truth: np.ndarray, predicted: np.ndarray) -> float:
        predictions.append(predicted)
        return course[len(predictions) - 1]

    validation = corners(2, "tags")
    probe = fit_mlp(ProbeData("tags", 2, corners(1, "tags"), validation, scripted, seed=0))
    assert len(predictions) == 9  # four epochs after the fifth
    assert probe.chosen == {"epoch": [5], "learning_rate": [0.0005], "validation_quality": [0.6]}
    assert (probe.predict(validation.audio)[0] == predictions[4]).all()


@pytest.mark.usefixtures("few_epochs")
def test_a_quality_that_is_never_defined_keeps_the_first_epoch() -> None:
    train = corners(1, "tags")
    nothing = LabelledVectors(train.audio, np.zeros_like(train.truth))
    chosen = fit_mlp(ProbeData("tags", 2, train, nothing, mean_roc_auc, seed=0)).chosen
    assert (chosen["epoch"], chosen["validation_quality"]) == ([1] * RUNS, [None] * RUNS)


@pytest.mark.usefixtures("few_epochs")
def test_a_dimension_without_variation_does_no_harm() -> None:
    train = corners(1, "numbers")
    constant = embedded(np.concatenate([train.audio.windows, np.full((128, 1), 3.5)], axis=1))
    labelled = LabelledVectors(constant, train.truth)
    assert np.isfinite(fit_mlp(ProbeData("numbers", 1, labelled, labelled, mean_r2, seed=0)).predict(constant)).all()


@pytest.mark.usefixtures("few_epochs")
@pytest.mark.parametrize(("kind", "outputs"), [("tags", 3), ("class", 3)])
def test_equal_windows_get_equal_predictions_however_many_a_recording_has(
    kind: TargetKind, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlp, "_WINDOWS_AT_ONCE", 128)
    rng = np.random.default_rng(6)
    # 7 dimensions, since products of matrices with few rows round them differently
    audio = embedded([np.tile(rng.normal(size=7), (count, 1)) * 0 + 0.1 for count in rng.integers(1, 9, size=60)])
    truth = {"tags": rng.random((60, 3)) < 0.4, "class": rng.integers(3, size=60)}[kind]
    labelled = LabelledVectors(audio, truth)
    predicted = fit_mlp(ProbeData(kind, outputs, labelled, labelled, QUALITIES[kind], seed=0)).predict(audio)
    assert (predicted == predicted[:, :1]).all()


@pytest.mark.usefixtures("few_epochs")
def test_blocks_of_any_size_give_the_same_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    audio = embedded([rng.normal(size=(count, 3)) for count in rng.integers(1, 200, size=30)])
    labelled = LabelledVectors(audio, rng.random((30, 2)) < 0.5)
    data = ProbeData("tags", 2, labelled, labelled, mean_roc_auc, seed=0)
    whole = fit_mlp(data).predict(audio)
    for size in (64, 192, audio.num_windows - 1):
        monkeypatch.setattr(mlp, "_WINDOWS_AT_ONCE", size)
        assert fit_mlp(data).predict(audio) == pytest.approx(whole, abs=1e-6)


def test_it_needs_less_memory_than_the_windows_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "MAX_EPOCHS", 1)
    rng = np.random.default_rng(8)
    splits = mixed_splits(400)
    audio = embedded([rng.normal(size=(200, 64)).astype(np.float32) for _ in splits], splits=splits)
    tracemalloc.start()
    parts = ProbeSplits.of(audio, seed=0).where(lambda recording: True)
    train, validation = (
        LabelledVectors(part, rng.random((len(part.recordings), 2)) < 0.5) for part in (parts.train, parts.validation)
    )
    fit_mlp(ProbeData("tags", 2, train, validation, mean_roc_auc, seed=0)).predict(parts.test)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < audio.vectors.nbytes / 2
