"""Validation: the scores of a task on the validation micro-batches of all workers."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from mulan.data.batch import Batch
from mulan.data.schedule import Phase
from mulan.model.device_batch import DeviceBatch
from mulan.tasks.task import Task
from mulan.training.engines.base import Engine


def validate(engine: Engine, batches: Iterable[Batch], task: Task) -> dict[str, float]:
    """Returns the task's validation scores by name. Collective.

    With ``optim.ema_decay``, they are those of the averaged weights.

    Args:
        batches: This worker's validation micro-batches, the same number on every worker.
    """
    engine.evaluation_mode(True)
    with torch.no_grad():
        scores = task.validation_scores(_outputs(engine, batches))
    engine.evaluation_mode(False)
    return scores


def _outputs(engine: Engine, batches: Iterable[Batch]) -> Iterator[tuple[DeviceBatch, Any]]:
    for batch in batches:
        assert batch.item.phase is Phase.VALIDATE
        on_device = engine.to_device(batch)
        yield on_device, engine.forward(on_device)
