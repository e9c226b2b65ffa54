"""Tests how the errors of a worker end a run, and how runs are named in metrics and logs."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mulan.launch.policies import TrainingFailed
from mulan.launch.worker import label_of, train_on_worker
from mulan.runs.lease import Fence
from mulan.runs.run import Run
from mulan.storage.errors import StorageError
from mulan.training.health import NonFiniteStep


def fail_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the attempt, whose imports start a compiler, by one that fails."""

    def fail(job: Any) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "mulan.launch.attempt", SimpleNamespace(train_attempt=fail))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "exit_code", "message"),
    [
        (NonFiniteStep("the loss of step 3 is nan"), 2, "the loss of step 3 is nan"),
        (StorageError("it does not answer"), StorageError.exit_code, "it does not answer"),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, "CUDA out of memory; set a smaller batch.pairs_per_micro_"),
    ],
)
def test_final_errors_have_their_cause(
    monkeypatch: pytest.MonkeyPatch, error: Exception, exit_code: int, message: str
) -> None:
    fail_with(error, monkeypatch)
    with pytest.raises(TrainingFailed) as raised:
        train_on_worker({"job": None})
    assert str(raised.value).startswith(message)
    assert (raised.value.exit_code, raised.value.cause_name) == (exit_code, type(error).__name__)


def test_an_error_of_several_workers_keeps_its_cause_and_others_are_left_to_ray(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_with(TrainingFailed("no such shard", exit_code=2, cause_name="CorpusError"), monkeypatch)
    with pytest.raises(TrainingFailed) as raised:
        train_on_worker({"job": None})
    assert (str(raised.value), raised.value.exit_code, raised.value.cause_name) == ("no such shard", 2, "CorpusError")
    fail_with(RuntimeError("Connection closed by peer"), monkeypatch)
    with pytest.raises(RuntimeError, match="closed by peer"):
        train_on_worker({"job": None})


def test_trials_of_different_sweeps_have_different_labels() -> None:
    assert label_of(Run("s3://bucket/runs", "run1"), None) == "run1"
    for name in ("sweep1", "sweep2"):
        run = Run(f"s3://bucket/runs/{name}/trials", "trial_0000")
        assert label_of(run, Fence(f"s3://bucket/runs/{name}", 1, "driver")) == f"{name}/trial_0000"
