"""Tests how the errors of a worker end a run: by those that another attempt would meet again, with their cause."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray.train
import torch

from mulan.launch import fit
from mulan.launch.policies import TrainingFailed
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage.errors import StorageError
from mulan.training.health import NonFiniteStep


@pytest.mark.processes  # a worker imports DeepSpeed, which runs a compiler
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

    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node"))
    monkeypatch.setattr(fit, "read_newest_on_all_workers", fail)
    config = {"recipe": load_recipe("demo_miniature"), "run": Run("/nowhere", "run"), "source": None}
    with pytest.raises(TrainingFailed) as raised:
        fit.train_on_worker(config)
    assert str(raised.value).startswith(message)
    assert (raised.value.exit_code, raised.value.cause_name) == (exit_code, type(error).__name__)
