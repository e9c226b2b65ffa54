"""Tests the outputs that a task receives in a validation: evaluation mode, no gradients, one batch at a time."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from mulan.data.schedule import Phase
from mulan.model.device_batch import DeviceBatch
from mulan.tasks.joint import JointTask
from mulan.training.validation import validate
from tests.training.small import batches_of, small, torch_engine


class CountingTask(JointTask):
    """Records the outputs that it receives, and returns no scores."""

    def __init__(self) -> None:
        super().__init__(small("demo"))
        self.engine = torch_engine(small("demo"))
        self.forwards = 0
        self.engine.module.register_forward_hook(self._count)

    def _count(self, module: torch.nn.Module, inputs: Any, outputs: Any) -> None:
        assert not module.training and not torch.is_grad_enabled()
        self.forwards += 1

    def validation_scores(self, outputs: Iterable[tuple[DeviceBatch, Any]]) -> dict[str, float]:
        for number, (batch, embeddings) in enumerate(outputs):
            assert self.forwards == number + 1
            assert batch.batch.item.micro_batch == number
            assert len(embeddings.audio) == len(batch.recordings)
        return {"micro_batches": number + 1}


def test_outputs_are_computed_lazily() -> None:
    task = CountingTask()
    batches = [replace(one, item=one.item._replace(phase=Phase.VALIDATE)) for one in batches_of(small("demo"), 0)]
    assert validate(task.engine, batches, task) == {"micro_batches": 4}
    assert task.engine.module.training
