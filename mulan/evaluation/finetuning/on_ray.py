"""Training of networks in tasks of Ray, one for each learning rate, on a CPU or a GPU each."""

from collections.abc import Callable, Iterator
from typing import Any

import ray
import torch
from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError

from mulan.config.errors import MulanError
from mulan.evaluation.errors import EvaluationError
from mulan.evaluation.finetuning.training import EndToEndJob, FinishedEpoch, TrainedNetwork, train_end_to_end
from mulan.model.deterministic import NotDeterministic


class EndToEndTrainingFailed(MulanError):
    """A process ended while it trained a network, for a reason that may be temporary."""

    exit_code = 1


OnEpoch = Callable[[FinishedEpoch], None]
"""Called after each epoch of each learning rate."""


def train_on_ray(job: EndToEndJob, *, use_gpu: bool, on_epoch: OnEpoch) -> list[TrainedNetwork]:
    """Trains a network with each learning rate, at once if there are CPUs or GPUs for it. Ray must be initialised.

    Returns:
        The trained networks, in the order of the learning rates.

    Raises:
        EvaluationError: The network does not fit into the memory of the GPU, or has no deterministic kernels on it.
        EndToEndTrainingFailed: A process ended.
        MulanError: As :func:`mulan.evaluation.finetuning.training.train_end_to_end` raises it.
    """
    # a task on the CPU has one thread, so that its sums do not depend on the number of CPUs
    options: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if use_gpu else {"num_cpus": 1}
    task = ray.remote(max_retries=0, num_returns="streaming", **options)(_trained)
    shared = ray.put(job)
    rates, device = job.settings.learning_rates, "cuda" if use_gpu else "cpu"
    running = [task.remote(shared, rate, device) for rate in rates]
    results: dict[float, TrainedNetwork] = {}
    try:
        while running:
            (ready,), _ = ray.wait(running, num_returns=1)
            item = _next(ready)
            if item is None:
                running.remove(ready)
            elif isinstance(item, MulanError):
                raise item
            elif isinstance(item, FinishedEpoch):
                on_epoch(item)
            else:
                results[item.learning_rate] = item
    except (OutOfMemoryError, RayActorError, WorkerCrashedError) as error:
        raise EndToEndTrainingFailed(
            f"a process that trains {job.model_uri} ended: {str(error).splitlines()[0]} It may have run out of memory; "
            "repeat the command"
        ) from error
    finally:
        for each in running:
            ray.cancel(each)
    return [results[rate] for rate in rates]


Item = FinishedEpoch | TrainedNetwork | MulanError
"""An epoch, the result, or the error instead of it: Ray would report one that is raised with a traceback."""


def _next(items: "ray.ObjectRefGenerator") -> Item | None:
    """Returns the next item of a task; None if there are no more."""
    try:
        item: Item = ray.get(next(items))
    except StopIteration:
        return None
    return item


def _trained(job: EndToEndJob, learning_rate: float, device: str) -> Iterator[Item]:
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield from train_end_to_end(job, learning_rate, device)
    except NotDeterministic as error:
        yield EvaluationError(f"{job.model_uri}: {error}")
    except MulanError as error:
        yield error
    except torch.cuda.OutOfMemoryError as error:
        yield EvaluationError(
            f"{job.model_uri}: training it end to end does not fit into the memory of the GPU "
            f"({str(error).splitlines()[0]}); use a GPU with more memory, or leave out --finetune"
        )
