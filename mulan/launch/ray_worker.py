"""Collective preparations of Ray Train's workers: raising errors on all of them, and reading a checkpoint."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar, cast

from mulan.config.errors import MulanError
from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.launch.policies import TrainingFailed
from mulan.runs.checkpoint import CheckpointCopy, newest_copy
from mulan.training.state import Checkpoint

T = TypeVar("T")


def raise_on_all_workers(function: Callable[[], T]) -> T:
    """Returns the result of a function; an error on one worker is raised on all of them. Collective.

    Raises:
        TrainingFailed: The function raised a :class:`MulanError` on a worker; has its message, exit code and cause.
    """
    result: T | None = None
    own_error: tuple[str, int, str] | None = None
    try:
        result = function()
    except MulanError as error:
        own_error = str(error), error.exit_code, type(error).__name__
    for worker_error in all_gather_objects(own_error):
        if worker_error is not None:
            text, exit_code, cause_name = worker_error
            raise TrainingFailed(text, exit_code=exit_code, cause_name=cause_name)
    return cast(T, result)


def read_newest_on_all_workers(run_uri: str, *, place: str, on_corrupt: Callable[[str], None]) -> Checkpoint | None:
    """Returns a run's newest intact checkpoint, the same on all workers, or None. Collective.

    One worker of each node downloads and verifies it, and all workers of the node open the same files.

    Args:
        place: The id of the machine or container whose temporary folder this worker uses.
        on_corrupt: Called with a message about each newer checkpoint that is corrupt, on one worker of each place.

    Raises:
        TrainingFailed: Storage failed on at least one worker.
        RuntimeError: The workers read different checkpoints.
    """
    reader = all_gather_objects(place).index(place)
    with ExitStack() as stack:

        def make_copy() -> CheckpointCopy | None:
            return (
                stack.enter_context(newest_copy(run_uri, on_corrupt=on_corrupt))
                if rank_and_world_size()[0] == reader
                else None
            )

        copy = all_gather_objects(raise_on_all_workers(make_copy))[reader]
        checkpoint = raise_on_all_workers(lambda: None if copy is None else copy.open())
        # afterwards all workers have opened the files, so their folder may be removed
        steps = all_gather_objects(checkpoint.progress.steps_done if checkpoint else 0)
    if len(set(steps)) > 1:  # another attempt was still writing
        raise RuntimeError(f"workers read different checkpoints, of steps {steps}; they are restarted")
    return checkpoint
