"""The fit: a recipe trained by Ray Train on a cluster. All that is Ray Train's is in this file."""

import gc
import logging
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.train.torch
from pyarrow.fs import FileSystem, PyFileSystem
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig

from mulan.config.agreement import worker_counts
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.config.sections import Scale
from mulan.data import storage
from mulan.data.examples import MicroBatchReader
from mulan.data.planned_batches import Source, planned_batches, start_source
from mulan.data.schedule import Schedule
from mulan.data.storage_errors import StorageError
from mulan.data.trees import LiteralHandler
from mulan.objectives.collectives import gather_objects
from mulan.private_ray.controller import wait_for_answers
from mulan.private_ray.placement_groups import give_back
from mulan.training.checkpoint import Progress, read_newest
from mulan.training.checkpoint_list import checkpoints
from mulan.training.checks import check_corpus
from mulan.training.data_nodes import data_nodes
from mulan.training.devices import cautions, device_kind, told_of
from mulan.training.errors import ControllerLost, TrainingFailed
from mulan.training.findings import Finding
from mulan.training.lease import Fence, held
from mulan.training.limits import most_readers, most_workers, worker_resources
from mulan.training.readers_watch import ReadersWatch
from mulan.training.recorder import Recorder
from mulan.training.reports import Reports
from mulan.training.run import JsonLinesLog, Run
from mulan.training.together import alike, read_newest_together
from mulan.training.trainer import Trainer, final_cause, in_words

if TYPE_CHECKING:
    from mulan.training.engine import CheckpointedEngine

_WAIT_FOR_DATA = 0.8
"""Part of ``scale.collective_timeout_s``."""

ROOM_PERIOD_S = 10.0
"""Between two looks at whether there is room for more workers, which are taken at the next checkpoint."""

log = logging.getLogger(__name__)


def fit(
    recipe: Recipe,
    run: Run,
    *,
    reader: "ray.ObjectRef[MicroBatchReader] | None" = None,
    callbacks: list[UserCallback] | None = None,
) -> None:
    """Trains a run to its last step, from its newest checkpoint if it has one.

    Ray must be initialised. Afterwards the newest checkpoint of the run stands at ``train.steps``. The run's lease is
    held meanwhile: whoever else would train it is refused.

    Args:
        reader: what ``check_corpus`` made of the recipe, in Ray's object store; it is made here if not given.

    Raises:
        CorpusError, PlanError, RunError, RunHeld, StorageError: before anything is started.
        ControllerLost, TrainingFailed: the run stopped; it can be resumed.
        RunTakenOver: another driver has the run since.
    """
    if reader is None:
        reader = ray.put(check_corpus(recipe))
    run.check(recipe)
    with held(run.uri, progress=partial(_last_step, run)) as fence:
        run.begin(recipe)
        if not stands_at_the_end(recipe, run):
            _train(recipe, run, fence, reader, callbacks or [])


def _train(
    recipe: Recipe,
    run: Run,
    fence: Fence,
    reader: "ray.ObjectRef[MicroBatchReader]",
    callbacks: list[UserCallback],
) -> None:
    wait_for_answers(recipe.scale.collective_timeout_s)
    source = _source(recipe, reader)
    try:
        trainer = Trainer(
            _train_on_worker,
            worker_counts=worker_counts(recipe.batch, recipe.train, recipe.scale),
            room_ever=partial(most_workers, recipe.scale),
            steps_saved=partial(_steps_saved, run),
            failed=partial(_failed, run, fence),
            train_loop_config={"recipe": recipe, "run": run, "fence": fence, "source": source},
            scaling_config=_scaling(recipe),
            run_config=_run_config(recipe, run, callbacks),
            torch_config=TorchConfig(timeout_s=math.ceil(recipe.scale.collective_timeout_s)),
        )
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        with suppress(StorageError):  # what ended the run is told in any case
            fence.check()
        final = final_cause(error)
        stopped = f"run {run.uri} stopped: {in_words(error)}"
        raise TrainingFailed(stopped, exit_code=final.exit_code if final else 1) from error
    except RayActorError as error:
        give_back()
        raise ControllerLost(f"run {run.uri} stopped with Ray Train's controller: {in_words(error)}") from error
    finally:
        source.end()


def stands_at_the_end(recipe: Recipe, run: Run) -> bool:
    """Whether nothing is left to be trained."""
    if _steps_saved(run) < recipe.train.steps:
        return False
    found = read_newest(run.uri, passed_over=log.warning)
    return found is not None and found.progress.steps_done >= recipe.train.steps


def _source(recipe: Recipe, reader: "ray.ObjectRef[MicroBatchReader]") -> Source:
    """Where all workers of the run take their batches from."""
    scale = recipe.scale
    return start_source(
        reader,
        cpus=scale.data_cpus,
        room_ever=partial(most_readers, scale),
        label_selector=data_nodes(scale),
        most_workers=scale.most_workers,
        # before the other workers give up in a collective, which would not say what they waited for
        limit_s=_WAIT_FOR_DATA * scale.collective_timeout_s,
    )


def _steps_saved(run: Run) -> int:
    newest = checkpoints(run.uri)[:1]
    return newest[0].steps_done if newest else 0


def _last_step(run: Run) -> str:
    lines = run.metrics()
    return f"its last step is {lines[-1]['step']}" if lines else "no step is done yet"


def _failed(run: Run, fence: Fence, text: str) -> None:
    fence.check()
    failures = JsonLinesLog(run.failures_uri)
    failures.append([{"time": time.time(), "event": text}])
    failures.flush()


def _train_on_worker(config: dict[str, Any]) -> None:
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
    passed_over: list[str] = []
    try:
        node = ray.get_runtime_context().get_node_id()
        found = read_newest_together(run.uri, place=node, passed_over=passed_over.append)
        first_step = found.progress.steps_done if found else 0
        schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=first_step)
        recorder = alike(
            lambda: Recorder(run, recipe, first_step=first_step, fence=config["fence"]) if rank == 0 else None
        )
        device = ray.train.torch.get_device()
        kinds = gather_objects(device_kind(device, threads=recipe.scale.cpus_per_worker))
        with recorder or nullcontext():
            if recorder is not None:
                _tell_of_start(recorder, passed_over, kinds, found.progress if found else None)
            # begun by one, and known to all once it is
            attempt = gather_objects(source.begin(schedule) if rank == 0 else "")[0]
            batches = planned_batches(source, attempt, schedule)
            with ReadersWatch(source, told=recorder.event) if recorder else nullcontext() as watch:
                trained_on = sorted({*kinds, *(found.progress.trained_on if found else ())})
                reports = partial(_reports, run, recorder, watch, trained_on)
                train_worker(recipe, found, batches, schedule, reports, device)
    except MulanError as error:
        raise TrainingFailed(str(error), exit_code=error.exit_code) from error


def _tell_of_start(
    recorder: Recorder, passed_over: Sequence[str], kinds: Sequence[str], progress: Progress | None
) -> None:
    first_step = progress.steps_done if progress else 0
    for text in (*passed_over, f"{len(kinds)} workers go on from step {first_step} on {told_of(kinds)}"):
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
) -> Reports:
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

    def found(finding: Finding) -> str:
        if recorder is not None:
            recorder.found(finding)
        return f"Its recordings: {run.finding_uri(finding.step)}. See: {run.replay_command(finding.step)}. "

    if recorder is None:
        return Reports(step=_ignore, skipped=_ignore_both, milestone=milestone, found=found, leaving=leaving)
    return Reports(
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


def _scaling(recipe: Recipe) -> ScalingConfig:
    scale = recipe.scale
    workers = scale.workers if scale.least_workers < scale.most_workers else scale.most_workers
    return ScalingConfig(
        num_workers=workers,
        use_gpu=scale.use_gpu,
        resources_per_worker=worker_resources(scale),
        elastic_resize_monitor_interval_s=ROOM_PERIOD_S,
    )


def worker_environment(scale: Scale) -> dict[str, str]:
    """Environment variables of the training workers, beside those of their node."""
    own = {"TOKENIZERS_PARALLELISM": "false"} | ({} if scale.use_gpu else {"DS_ACCELERATOR": "cpu"})
    return scale.env | own


def _run_config(recipe: Recipe, run: Run, callbacks: list[UserCallback]) -> RunConfig:
    path, filesystem = ray_storage(run.storage_uri)
    return RunConfig(
        name=run.name,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=FailureConfig(max_failures=recipe.scale.max_failures),
        callbacks=callbacks,
        worker_runtime_env={"env_vars": worker_environment(recipe.scale)},
    )


def ray_storage(uri: str) -> tuple[str, FileSystem | None]:
    """Ray's way to name a storage: a path, and a pyarrow file system unless it is local."""
    fs, path = storage.filesystem(uri)
    return (path, None) if storage.is_local(uri) else (path, PyFileSystem(LiteralHandler(fs)))
