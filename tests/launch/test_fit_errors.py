"""Tests how the errors of a worker end a run: by those that another attempt would meet again, with their cause."""

from typing import Any

import pytest
import torch

from mulan.launch import attempt
from mulan.launch.policies import TrainingFailed
from mulan.launch.worker import train_on_worker
from mulan.storage.errors import StorageError
from mulan.training.health import NonFiniteStep


@pytest.mark.processes  # imports DeepSpeed, which runs a compiler
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
    def fail(*arguments: Any, **named: Any) -> None:
        raise error

    monkeypatch.setattr(attempt, "train_attempt", fail)
    with pytest.raises(TrainingFailed) as raised:
        train_on_worker({"job": None})
    assert str(raised.value).startswith(message)
    assert (raised.value.exit_code, raised.value.cause_name) == (exit_code, type(error).__name__)
