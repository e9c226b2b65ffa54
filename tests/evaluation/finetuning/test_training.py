"""Tests properties of the training: repeatable, by the validation split, and with batch norm's running statistics."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mulan.evaluation.finetuning import training
from mulan.evaluation.finetuning.training import EndToEndJob, FinishedEpoch, TrainedNetwork, train_end_to_end
from mulan.evaluation.probes.probe import ProbeData
from tests.evaluation.finetuning.trained_here import QUICK


def results(job: EndToEndJob, rate: float = 1e-3) -> tuple[list[FinishedEpoch], TrainedNetwork]:
    *epochs, last = train_end_to_end(job, rate, "cpu")
    assert isinstance(last, TrainedNetwork)
    return [each for each in epochs if isinstance(each, FinishedEpoch)], last


def test_the_same_job_has_the_same_result_and_leaves_torch_as_it_was(job: EndToEndJob) -> None:
    state, was_deterministic = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    first = results(job)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.are_deterministic_algorithms_enabled() == was_deterministic
    torch.manual_seed(99)
    second = results(job)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1].predictions, second[1].predictions)
    other = results(replace(job, data=replace(job.data, seed=1)))
    assert (first[1].predictions != other[1].predictions).any()


def test_the_best_epoch_is_kept_and_training_stops_after_the_patience(
    job: EndToEndJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    qualities = [0.5, 0.9, 0.7, 0.9, 0.8, 1.0]
    asked: list[np.ndarray] = []

    def planned(self: ProbeData, predicted: np.ndarray) -> float:
        asked.append(predicted)
        return qualities[len(asked) - 1]

    monkeypatch.setattr(ProbeData, "quality_of", planned)
    settings = replace(job.settings, max_epochs=9, min_batches=1, patience_epochs=3, plateau_epochs=9)
    epochs, last = results(replace(job, settings=settings, scored=job.validation))
    assert [(each.epoch, each.quality, each.best_epoch) for each in epochs] == [
        *((1, 0.5, 1), (2, 0.9, 2), (3, 0.7, 2), (4, 0.9, 2), (5, 0.8, 2)),
    ]
    assert (last.epoch, last.quality, last.learning_rate) == (2, 0.9, 1e-3)
    np.testing.assert_allclose(last.predictions, asked[1], atol=1e-12)  # running statistics are restored, too
    assert str(epochs[2]).endswith("epoch 3: 0.7000 on the validation split")
    assert str(epochs[1]).endswith("epoch 2: 0.9000 on the validation split, the best so far")


def test_predictions_depend_on_no_other_recording(job: EndToEndJob) -> None:
    network = training._Training(job, 1e-3, torch.device("cpu"))
    before = network.weights()
    network.epoch()
    moved = [name for name, tensor in network.weights().items() if not torch.equal(tensor, before[name])]
    assert any("running_mean" in name for name in moved)
    assert {name for name, _ in network.network.named_parameters()} <= set(moved)
    alone = replace(
        job.scored, recordings=(replace(job.scored.recordings[3], position=0),), counts=job.scored.counts[3:4]
    )
    np.testing.assert_allclose(network.predict(alone)[0], network.predict(job.scored)[3], atol=1e-6)


def test_a_training_that_diverges_ends_at_once(job: EndToEndJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(*arguments: Any, **named: Any) -> Any:
        network = original(*arguments, **named)
        with torch.no_grad():
            network.classifier.weight.fill_(float("nan"))
        return network

    original = training.end_to_end_network
    monkeypatch.setattr(training, "end_to_end_network", spoilt)
    epochs, last = results(job)
    assert [(each.epoch, each.quality) for each in epochs] == [(1, float("-inf"))]
    assert np.isnan(last.predictions).all()


@pytest.mark.parametrize("recordings", [3, 40, 641])
def test_epochs_see_every_recording_equally_often_in_batches_of_about_equal_sizes(recordings: int) -> None:
    settings = replace(QUICK, batch_size=32, min_batches=5)
    batches = training._batches(recordings, settings, np.random.default_rng(0))
    sizes = [len(numbers) for numbers, _ in batches]
    assert len(batches) >= 5 and max(sizes) <= 32 and max(sizes) - min(sizes) <= 1
    seen = np.bincount(np.concatenate([numbers for numbers, _ in batches]), minlength=recordings)
    assert len(set(seen.tolist())) == 1
    assert seen[0] == (1 if recordings >= 160 else -(-160 // recordings))
