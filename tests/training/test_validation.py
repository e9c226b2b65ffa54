"""Tests the outputs that a task receives in a validation: evaluation mode, no gradients, one batch at a time."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from mulan.config.recipe import Recipe
from mulan.data.schedule import Phase
from mulan.distributed.batch_norm import RunningStatistics
from mulan.model.device_batch import DeviceBatch
from mulan.tasks.joint import JointTask
from mulan.training.step import train_step
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


class RecordingTask(JointTask):
    """Records the audio embeddings that it receives, and returns no scores."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.audio: list[torch.Tensor] = []

    def validation_scores(self, outputs: Iterable[tuple[DeviceBatch, Any]]) -> dict[str, float]:
        self.audio += [embeddings.audio for _, embeddings in outputs]
        return {}


def test_averaged_weights_are_validated() -> None:
    recipe = small("demo", "optim.ema_decay=0.6", "train.exact_sums=false")
    engine, task = torch_engine(recipe), RecordingTask(recipe)
    average = {name: p.detach().double() for name, p in engine.module.named_parameters() if p.requires_grad}
    statistics = RunningStatistics(engine.module)
    for step in range(2):
        train_step(engine, batches_of(recipe, step), statistics, task, recipe.train)
        for name, parameter in engine.module.named_parameters():
            if name in average:
                average[name] = 0.6 * average[name] + 0.4 * parameter.detach().double()
    before = {name: tensor.clone() for name, tensor in engine.module.state_dict().items()}
    batches = [replace(one, item=one.item._replace(phase=Phase.VALIDATE)) for one in batches_of(recipe, 2)]
    validate(engine, batches, task)
    for name, tensor in engine.module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    reference = torch_engine(small("demo"))
    reference.module.load_state_dict(before | average)  # with the running statistics after training
    reference.evaluation_mode(True)
    with torch.no_grad():
        averaged = torch.cat([reference.forward(reference.to_device(batch)).audio for batch in batches])
        reference.module.load_state_dict(before)
        latest = torch.cat([reference.forward(reference.to_device(batch)).audio for batch in batches])
    torch.testing.assert_close(torch.cat(task.audio), averaged, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(latest, averaged, rtol=1e-4, atol=1e-4)
