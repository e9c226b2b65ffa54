"""The function that Ray Train calls on every worker of an attempt, and what it receives from the driver.

It imports the libraries of training only when it is called: DeepSpeed chooses its accelerator when it is imported, from
the environment that only the worker has, and the driver needs none of them.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mulan.config.errors import USER_ERROR, MulanError
from mulan.config.recipe import Recipe
from mulan.data.planned_batches import BatchService
from mulan.instrumentation.settings import InstrumentSettings
from mulan.launch.policies import TrainingFailed
from mulan.runs.lease import Fence
from mulan.runs.run import Run


@dataclass(frozen=True)
class WorkerJob:
    """What the workers of all attempts of a driver receive."""

    recipe: Recipe
    run: Run
    fences: Sequence[Fence]
    """The fence of the run's lease and, in a sweep, that of the sweep's."""
    source: BatchService
    """The source of the batches."""
    instruments: InstrumentSettings
    driver_began: float
    """Unix time of the driver's start."""


def train_on_worker(config: dict[str, Any]) -> None:
    """Trains on one of the workers of an attempt: the ``train_loop_per_worker`` of Ray Train.

    Args:
        config: A :class:`WorkerJob` as ``job``.

    Raises:
        TrainingFailed: Training failed for a reason that another attempt would meet again.
    """
    # imported objects are never freed: a garbage collection of them takes a second here, and pauses training later
    gc.disable()
    from mulan.launch.attempt import train_attempt

    gc.freeze()
    gc.enable()
    try:
        train_attempt(config["job"])
    except MulanError as error:
        raise TrainingFailed(str(error), exit_code=error.exit_code, cause_name=type(error).__name__) from error
    except torch.OutOfMemoryError as error:  # another attempt would need as much
        remedy = "set a smaller batch.pairs_per_micro_batch, or a higher scale.gpus_per_worker if GPUs are shared"
        raise TrainingFailed(f"{error}; {remedy}", exit_code=USER_ERROR, cause_name=type(error).__name__) from error
