"""What each Ray Train worker does, and what it reports to the run's folder and to Ray."""

import gc
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import ray
import ray.train
import ray.train.torch

from mulan.config.errors import MulanError
from mulan.data.planned_batches import planned_batches
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import all_gather_objects, rank_and_world_size
from mulan.launch.devices import cautions, device_kind, told_of
from mulan.launch.policies import TrainingFailed
from mulan.launch.readers_watch import ReadersWatch
from mulan.runs.checkpoint import CheckpointCopy, newest_copy
from mulan.runs.recorder import Recorder
from mulan.runs.run import Run
from mulan.training.health import Anomaly
from mulan.training.observer import TrainingObserver
from mulan.training.state import Checkpoint, Progress

if TYPE_CHECKING:
    from mulan.training.engines.base import CheckpointedEngine


log = logging.getLogger(__name__)


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


def train_on_worker(config: dict[str, Any]) -> None:
    """Trains as one of the workers of an attempt.

    Raises:
        TrainingFailed: for a reason that another attempt would meet again.
    """
    # what is imported stays: to look through it for garbage takes a second meanwhile, and pauses in training afterwards
    gc.disable()
    # DeepSpeed chooses its accelerator when imported, from the environment that only the worker has
    from mulan.training.worker import train_worker

    gc.freeze()
    gc.enable()
    recipe, run, source = config["recipe"], config["run"], config["source"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    on_corrupt: list[str] = []
    try:
        node = ray.get_runtime_context().get_node_id()
        found = read_newest_on_all_workers(run.uri, place=node, on_corrupt=on_corrupt.append)
        first_step = found.progress.steps_done if found else 0
        schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=first_step)
        recorder = raise_on_all_workers(
            lambda: Recorder(run, recipe, first_step=first_step, fence=config["fence"]) if rank == 0 else None
        )
        device = ray.train.torch.get_device()
        kinds = all_gather_objects(device_kind(device, threads=recipe.scale.cpus_per_worker))
        with recorder or nullcontext():
            if recorder is not None:
                _tell_of_start(recorder, on_corrupt, kinds, found.progress if found else None)
            # begun by one, and known to all once it is
            attempt = all_gather_objects(source.begin(schedule) if rank == 0 else "")[0]
            batches = planned_batches(source, attempt, schedule)
            with ReadersWatch(source, told=recorder.event) if recorder else nullcontext() as watch:
                trained_on = sorted({*kinds, *(found.progress.trained_on if found else ())})
                reports = partial(_reports, run, recorder, watch, trained_on)
                train_worker(recipe, found, batches, schedule, reports, device)
    except MulanError as error:
        raise TrainingFailed(str(error), exit_code=error.exit_code) from error


def _tell_of_start(
    recorder: Recorder, on_corrupt: Sequence[str], kinds: Sequence[str], progress: Progress | None
) -> None:
    first_step = progress.steps_done if progress else 0
    for text in (*on_corrupt, f"{len(kinds)} workers go on from step {first_step} on {told_of(kinds)}"):
        recorder.event(text)
    for text in cautions(kinds, progress):
        log.warning("%s", text)
        recorder.event(text)


def _reports(
    run: Run,
    recorder: Recorder | None,
    watch: ReadersWatch | None,
    trained_on: Sequence[str],
    engine: "CheckpointedEngine",
) -> TrainingObserver:
    def step(line: dict[str, Any]) -> None:
        assert recorder is not None and watch is not None
        recorder.step(line | {"data_cpus": watch.cpus()})

    def milestone(metrics: dict[str, Any], progress: Progress, checkpoint_due: bool) -> None:
        state = engine.state(kept=recorder is not None) if checkpoint_due else None
        if recorder is not None:
            if state is None:
                recorder.flush()
            else:
                recorder.checkpoint(state, metrics, replace(progress, trained_on=trained_on))
        ray.train.report(metrics)

    told: set[str] = set()

    def leaving() -> frozenset[str]:
        info = ray.train.get_preemption_info()
        nodes = frozenset(info.preempted_node_ids if info else ())
        if recorder is not None and nodes - told:
            recorder.event(f"about to be taken away: {', '.join(sorted(nodes - told))}")
        told.update(nodes)
        return nodes

    def found(finding: Anomaly) -> str:
        if recorder is not None:
            recorder.found(finding)
        return f"Its recordings: {run.anomaly_uri(finding.step)}. See: {run.replay_command(finding.step)}. "

    if recorder is None:
        return TrainingObserver(step=_ignore, skipped=_ignore_both, milestone=milestone, found=found, leaving=leaving)
    return TrainingObserver(
        step=step,
        skipped=recorder.skipped,
        milestone=milestone,
        fault=recorder.fault,
        found=found,
        leaving=leaving,
    )


def _ignore(_: object) -> None:
    pass


def _ignore_both(_: object, __: object) -> None:
    pass
