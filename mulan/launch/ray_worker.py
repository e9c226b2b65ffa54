"""What the workers of Ray Train do together before they train: raise each other's errors, and read a checkpoint."""

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
    """What a function gives on this worker; a fault that it meets on one worker is raised on all of them. Collective.

    Raises:
        TrainingFailed: a worker met it; says what it met.
    """
    result: T | None = None
    fault: tuple[str, int] | None = None
    try:
        result = function()
    except MulanError as error:
        fault = str(error), error.exit_code
    for told in all_gather_objects(fault):
        if told is not None:
            text, exit_code = told
            raise TrainingFailed(text, exit_code=exit_code)
    return cast(T, result)


def read_newest_on_all_workers(run_uri: str, *, place: str, on_corrupt: Callable[[str], None]) -> Checkpoint | None:
    """A run's newest checkpoint that is what was written, or None; the same one on all workers. Collective.

    One worker of each place downloads and checks it, and all of them there map the same files into their memory.

    Args:
        place: names what shares a temporary folder with this worker: its machine, or container.
        on_corrupt: told of each newer one that is not what was written, in words; not on every worker of a place.

    Raises:
        TrainingFailed: storage failed, on one worker or several.
        RuntimeError: the workers found different ones.
    """
    reader = all_gather_objects(place).index(place)
    with ExitStack() as kept:

        def copied() -> CheckpointCopy | None:
            return (
                kept.enter_context(newest_copy(run_uri, on_corrupt=on_corrupt))
                if rank_and_world_size()[0] == reader
                else None
            )

        copy = all_gather_objects(raise_on_all_workers(copied))[reader]
        found = None if copy is None else copy.read()
        steps = all_gather_objects(found.progress.steps_done if found else 0)  # all have mapped it: its folder may go
    if len(set(steps)) > 1:  # another attempt was still writing
        raise RuntimeError(f"workers found different checkpoints, of steps {steps}; they start again")
    return found
