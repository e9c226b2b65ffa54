"""What the workers of a run do with its storage together, under any launcher."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar, cast

from mulan.config.errors import MulanError
from mulan.objectives.collectives import gather_objects, world
from mulan.training.checkpoint import Checkpoint, CheckpointCopy, newest_copy
from mulan.training.errors import TrainingFailed

T = TypeVar("T")


def alike(function: Callable[[], T]) -> T:
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
    for told in gather_objects(fault):
        if told is not None:
            text, exit_code = told
            raise TrainingFailed(text, exit_code=exit_code)
    return cast(T, result)


def read_newest_together(run_uri: str, *, place: str, passed_over: Callable[[str], None]) -> Checkpoint | None:
    """A run's newest checkpoint that is what was written, or None; the same one on all workers. Collective.

    One worker of each place downloads and checks it, and all of them there map the same files into their memory.

    Args:
        place: names what shares a temporary folder with this worker: its machine, or container.
        passed_over: told of each newer one that is not what was written, in words; not on every worker of a place.

    Raises:
        TrainingFailed: storage failed, on one worker or several.
        RuntimeError: the workers found different ones.
    """
    reader = gather_objects(place).index(place)
    with ExitStack() as kept:

        def copied() -> CheckpointCopy | None:
            return kept.enter_context(newest_copy(run_uri, passed_over=passed_over)) if world()[0] == reader else None

        copy = gather_objects(alike(copied))[reader]
        found = None if copy is None else copy.read()
        steps = gather_objects(found.progress.steps_done if found else 0)  # all have mapped it: its folder may go
    if len(set(steps)) > 1:  # another attempt was still writing
        raise RuntimeError(f"workers found different checkpoints, of steps {steps}; they start again")
    return found
