"""Validation: the scores of a task on the validation micro-batches of all workers, and those of an evaluation."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch

from mulan.data.batch import Batch
from mulan.data.schedule import Phase
from mulan.model.device_batch import DeviceBatch
from mulan.tasks.evaluation import EmbeddingModule, ValidationEvaluation
from mulan.tasks.task import Task
from mulan.training.engines.base import Engine


def validate(
    engine: Engine, batches: Iterable[Batch], task: Task, evaluation: ValidationEvaluation | None = None
) -> dict[str, float]:
    """Returns the task's validation scores by name. Collective.

    With ``optim.ema_decay``, they are those of the averaged weights.

    Args:
        batches: This worker's validation micro-batches, the same number on every worker.
        evaluation: The evaluation of the recipe's ``evaluation.tasks``; None if there are none.

    Raises:
        EvaluationError: The evaluation has no score ``evaluation.select``.
    """
    engine.evaluation_mode(True)
    with torch.no_grad():
        scores = task.validation_scores(_outputs(engine, batches))
        if evaluation is not None:
            scores |= evaluation.scores(cast(EmbeddingModule, engine.module), next(engine.module.parameters()).device)
    engine.evaluation_mode(False)
    return scores


def _outputs(engine: Engine, batches: Iterable[Batch]) -> Iterator[tuple[DeviceBatch, Any]]:
    for batch in batches:
        assert batch.item.phase is Phase.VALIDATE
        on_device = engine.to_device(batch)
        yield on_device, engine.forward(on_device)
