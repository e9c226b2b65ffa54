"""Training of a recipe by Ray Train: the driver (:func:`fit`) and the workers (:func:`train_on_worker`)."""

import gc
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from pyarrow.fs import FileSystem, PyFileSystem
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig

from mulan.config.checks import pretraining_warnings, worker_counts
from mulan.config.errors import USER_ERROR, MulanError
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.data.freed_memory import KEEP_FREED_MEMORY
from mulan.data.planned_batches import BatchService, planned_batches, start_batch_service
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import all_gather_objects
from mulan.launch.capacity import max_readers, max_workers, reader_labels, worker_resources
from mulan.launch.checks import check_corpus
from mulan.launch.cluster import SharedReader, share_reader
from mulan.launch.devices import describe_devices, device_kind, reproducibility_warnings
from mulan.launch.policies import ControllerLost, Trainer, TrainingFailed, describe_error, final_cause
from mulan.launch.ray_observer import RayObserver, RecordingRayObserver
from mulan.launch.ray_worker import raise_on_all_workers, read_newest_on_all_workers
from mulan.launch.readers_watch import ReadersWatch
from mulan.private_ray.core import remove_orphaned_placement_groups
from mulan.private_ray.train import set_health_check_timeout
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.lease import Fence, hold_lease
from mulan.runs.recorder import Recorder
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import JsonLinesLog
from mulan.storage.trees import LiteralHandler
from mulan.training.state import Progress

_DATA_TIMEOUT_SHARE = 0.8
"""The time that workers wait for data, as a fraction of ``scale.collective_timeout_s``."""

RESIZE_PERIOD_S = 10.0
"""The period at which Ray Train checks for room for more workers, which join at the next checkpoint."""

log = logging.getLogger(__name__)


def fit(
    recipe: Recipe,
    run: Run,
    *,
    reader: SharedReader | None = None,
    callbacks: list[UserCallback] | None = None,
) -> None:
    """Trains a run to its last step, from its newest checkpoint if it has one.

    Ray must be initialised. Afterwards the newest checkpoint of the run is that of ``train.steps``. The run's lease is
    held meanwhile, so that another driver is refused.

    Args:
        reader: The shared reader of the recipe's corpus; the corpus is opened here if not given.

    Raises:
        CorpusError, PlanError, RunError, RunHeld, StorageError: A check failed; nothing was started.
        ControllerLost, TrainingFailed: The run stopped; it can be resumed.
        RunTakenOver: Another driver has taken over the run.
    """
    if reader is None:
        reader = share_reader(check_corpus(recipe))
    run.check(recipe, reader.index_sha256)
    with hold_lease(run.uri, progress=partial(_last_step, run)) as fence:
        run.begin(recipe, reader.index_sha256)
        if is_finished(recipe, run):
            return
        set_health_check_timeout(recipe.scale.collective_timeout_s)
        source = _source(recipe, reader.reference)
        try:
            with _training_errors(run, fence):
                _trainer(recipe, run, fence, source, callbacks or []).fit()
        finally:
            source.end()


def train_on_worker(config: dict[str, Any]) -> None:
    """Trains on one of the workers of an attempt: the ``train_loop_per_worker`` of Ray Train.

    Args:
        config: ``recipe``, ``run``, ``fence`` (of the run's lease) and ``source`` (of the batches).

    Raises:
        TrainingFailed: Training failed for a reason that another attempt would meet again.
    """
    # imported objects are never freed: a garbage collection of them takes a second here, and pauses training later
    gc.disable()
    # DeepSpeed chooses its accelerator when imported, from the environment that only the worker has
    from mulan.tasks.evaluation import ValidationEvaluation
    from mulan.tasks.task import task_of
    from mulan.training.loop import train
    from mulan.training.worker import prepare_engine

    gc.freeze()
    gc.enable()
    recipe, run, source = config["recipe"], config["run"], config["source"]
    task = task_of(recipe)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    on_corrupt: list[str] = []
    try:
        node = ray.get_runtime_context().get_node_id()
        checkpoint = read_newest_on_all_workers(run.uri, place=node, on_corrupt=on_corrupt.append)
        progress = checkpoint.progress if checkpoint else Progress(steps_done=0)
        schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=progress.steps_done)
        recorder = raise_on_all_workers(
            lambda: Recorder(run, recipe, first_step=progress.steps_done, fence=config["fence"]) if rank == 0 else None
        )
        device = ray.train.torch.get_device()
        kinds = all_gather_objects(device_kind(device, threads=recipe.scale.cpus_per_worker))
        with recorder or nullcontext():
            if recorder is not None:
                _record_start(recorder, recipe, on_corrupt, kinds, progress)
            # the first worker begins it, and the others receive its id
            attempt = all_gather_objects(source.begin(schedule) if rank == 0 else "")[0]
            batches = planned_batches(source, attempt, schedule)
            with ReadersWatch(source, on_change=recorder.event) if recorder else nullcontext() as readers:
                evaluation = raise_on_all_workers(lambda: ValidationEvaluation.from_recipe(recipe, rank, workers))
                engine = prepare_engine(task, recipe, checkpoint, device)
                observer = RayObserver(run, engine)
                if recorder and readers:
                    trained_on = sorted({*kinds, *progress.trained_on})
                    observer = RecordingRayObserver(run, engine, recorder, readers, trained_on=trained_on)
                train(task, recipe, engine, batches, schedule, progress, observer, evaluation)
    except MulanError as error:
        raise TrainingFailed(str(error), exit_code=error.exit_code, cause_name=type(error).__name__) from error
    except torch.OutOfMemoryError as error:  # another attempt would need as much
        remedy = "set a smaller batch.pairs_per_micro_batch, or a higher scale.gpus_per_worker if GPUs are shared"
        raise TrainingFailed(f"{error}; {remedy}", exit_code=USER_ERROR, cause_name=type(error).__name__) from error


def _record_start(
    recorder: Recorder, recipe: Recipe, on_corrupt: Sequence[str], kinds: Sequence[str], progress: Progress
) -> None:
    for text in (
        *on_corrupt,
        f"{len(kinds)} workers continue from step {progress.steps_done} on {describe_devices(kinds)}",
        *pretraining_warnings(recipe.audio_tower),
    ):
        recorder.event(text)
    for text in reproducibility_warnings(kinds, progress):
        log.warning("%s", text)
        recorder.event(text)


def _trainer(recipe: Recipe, run: Run, fence: Fence, source: BatchService, callbacks: list[UserCallback]) -> Trainer:
    return Trainer(
        train_on_worker,
        worker_counts=worker_counts(recipe.batch, recipe.train, recipe.scale),
        worker_limit=partial(max_workers, recipe.scale),
        saved_steps=partial(_saved_steps, run),
        on_failure=partial(_record_failure, run, fence),
        train_loop_config={"recipe": recipe, "run": run, "fence": fence, "source": source},
        scaling_config=_scaling(recipe),
        run_config=_run_config(recipe, run, callbacks),
        torch_config=TorchConfig(timeout_s=math.ceil(recipe.scale.collective_timeout_s)),
    )


@contextmanager
def _training_errors(run: Run, fence: Fence) -> Iterator[None]:
    """Converts errors of Ray Train to :class:`TrainingFailed`, with their final cause."""
    try:
        yield
    except ray.train.TrainingFailedError as error:
        with suppress(StorageError):  # must not hide what ended the run
            fence.check()
        final = final_cause(error)
        stopped = f"run {run.uri} stopped: {describe_error(error)}"
        exit_code, cause_name = (final.exit_code, final.cause_name) if final else (1, "")
        raise TrainingFailed(stopped, exit_code=exit_code, cause_name=cause_name) from error
    except RayActorError as error:
        remove_orphaned_placement_groups()
        raise ControllerLost(f"run {run.uri} stopped with Ray Train's controller: {describe_error(error)}") from error


def is_finished(recipe: Recipe, run: Run) -> bool:
    """Returns whether the run has been trained to its last step."""
    if _saved_steps(run) < recipe.train.steps:
        return False
    checkpoint = read_newest(run.uri, on_corrupt=log.warning)
    return checkpoint is not None and checkpoint.progress.steps_done >= recipe.train.steps


def _source(recipe: Recipe, reader: "ray.ObjectRef[MicroBatchReader]") -> BatchService:
    """Returns the source of the batches of all workers of the run."""
    scale = recipe.scale
    return start_batch_service(
        reader,
        cpus=scale.data_cpus,
        cpu_limit=partial(max_readers, scale),
        label_selector=reader_labels(scale),
        max_workers=scale.max_workers,
        # before the other workers time out in a collective, whose error would not name the cause
        max_wait_s=_DATA_TIMEOUT_SHARE * scale.collective_timeout_s,
    )


def _saved_steps(run: Run) -> int:
    newest = checkpoints(run.uri)[:1]
    return newest[0].steps_done if newest else 0


def _last_step(run: Run) -> str:
    lines = run.metrics()
    return f"its last step is {lines[-1]['step']}" if lines else "no step is done yet"


def _record_failure(run: Run, fence: Fence, text: str) -> None:
    fence.check()
    failures = JsonLinesLog(run.failures_uri)
    failures.append([{"time": time.time(), "event": text}])
    failures.flush()


def _scaling(recipe: Recipe) -> ScalingConfig:
    scale = recipe.scale
    workers = scale.workers if scale.min_workers < scale.max_workers else scale.max_workers
    return ScalingConfig(
        num_workers=workers,
        use_gpu=scale.use_gpu,
        resources_per_worker=worker_resources(scale),
        elastic_resize_monitor_interval_s=RESIZE_PERIOD_S,
    )


def worker_environment(scale: ScaleConfig) -> dict[str, str]:
    """Returns the environment variables of the training workers, in addition to those of their node."""
    own = {"TOKENIZERS_PARALLELISM": "false"} | ({} if scale.use_gpu else {"DS_ACCELERATOR": "cpu"})
    return KEEP_FREED_MEMORY | scale.env | own  # on CPUs every step allocates all of its activations again


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
    """Returns a storage the way Ray names it: a path, and a pyarrow file system unless it is local."""
    fs, path = filesystem.url_to_fs(uri)
    return (path, None) if filesystem.is_local(uri) else (path, PyFileSystem(LiteralHandler(fs)))
