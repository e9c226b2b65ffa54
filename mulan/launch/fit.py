"""A recipe trained by Ray Train on a cluster: the driver's side (:func:`fit`) and each worker's."""

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
from pyarrow.fs import FileSystem, PyFileSystem
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig

from mulan.config.checks import worker_counts
from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.data.planned_batches import Source, planned_batches, start_source
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import all_gather_objects
from mulan.launch.capacity import data_nodes, max_readers, max_workers, worker_resources
from mulan.launch.checks import check_corpus
from mulan.launch.cluster import SharedReader, shared
from mulan.launch.devices import cautions, device_kind, told_of
from mulan.launch.policies import ControllerLost, Trainer, TrainingFailed, final_cause, in_words
from mulan.launch.ray_observer import RayObserver, RecordingRayObserver
from mulan.launch.ray_worker import raise_on_all_workers, read_newest_on_all_workers
from mulan.launch.readers_watch import ReadersWatch
from mulan.private_ray.core import remove_orphaned_placement_groups
from mulan.private_ray.train import set_health_check_timeout
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.lease import Fence, held
from mulan.runs.recorder import Recorder
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import JsonLinesLog
from mulan.storage.trees import LiteralHandler
from mulan.training.state import Progress

_WAIT_FOR_DATA = 0.8
"""Part of ``scale.collective_timeout_s``."""

ROOM_PERIOD_S = 10.0
"""Between two looks at whether there is room for more workers, which are taken at the next checkpoint."""

log = logging.getLogger(__name__)


def fit(
    recipe: Recipe,
    run: Run,
    *,
    reader: SharedReader | None = None,
    callbacks: list[UserCallback] | None = None,
) -> None:
    """Trains a run to its last step, from its newest checkpoint if it has one.

    Ray must be initialised. Afterwards the newest checkpoint of the run stands at ``train.steps``. The run's lease is
    held meanwhile: whoever else would train it is refused.

    Args:
        reader: the shared reader of the recipe's corpus; the corpus is opened here if not given.

    Raises:
        CorpusError, PlanError, RunError, RunHeld, StorageError: before anything is started.
        ControllerLost, TrainingFailed: the run stopped; it can be resumed.
        RunTakenOver: another driver has the run since.
    """
    if reader is None:
        reader = shared(check_corpus(recipe))
    run.check(recipe, reader.index_sha256)
    with held(run.uri, progress=partial(_last_step, run)) as fence:
        run.begin(recipe, reader.index_sha256)
        if stands_at_the_end(recipe, run):
            return
        set_health_check_timeout(recipe.scale.collective_timeout_s)
        source = _source(recipe, reader.reference)
        try:
            with _training_errors(run, fence):
                _trainer(recipe, run, fence, source, callbacks or []).fit()
        finally:
            source.end()


def train_on_worker(config: dict[str, Any]) -> None:
    """Trains as one of the workers of an attempt: what Ray Train calls ``train_loop_per_worker``.

    Args:
        config: ``recipe``, ``run``, ``fence`` (of the run's lease) and ``source`` (of the batches).

    Raises:
        TrainingFailed: for a reason that another attempt would meet again.
    """
    # what is imported stays: to look through it for garbage takes a second meanwhile, and pauses in training afterwards
    gc.disable()
    # DeepSpeed chooses its accelerator when imported, from the environment that only the worker has
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
                _record_start(recorder, on_corrupt, kinds, progress)
            # begun by one, and known to all once it is
            attempt = all_gather_objects(source.begin(schedule) if rank == 0 else "")[0]
            batches = planned_batches(source, attempt, schedule)
            with ReadersWatch(source, told=recorder.event) if recorder else nullcontext() as readers:
                engine = prepare_engine(task, recipe, checkpoint, device)
                observer = RayObserver(run, engine)
                if recorder and readers:
                    trained_on = sorted({*kinds, *progress.trained_on})
                    observer = RecordingRayObserver(run, engine, recorder, readers, trained_on=trained_on)
                train(task, recipe, engine, batches, schedule, progress, observer)
    except MulanError as error:
        raise TrainingFailed(str(error), exit_code=error.exit_code) from error


def _record_start(recorder: Recorder, on_corrupt: Sequence[str], kinds: Sequence[str], progress: Progress) -> None:
    for text in (*on_corrupt, f"{len(kinds)} workers go on from step {progress.steps_done} on {told_of(kinds)}"):
        recorder.event(text)
    for text in cautions(kinds, progress):
        log.warning("%s", text)
        recorder.event(text)


def _trainer(recipe: Recipe, run: Run, fence: Fence, source: Source, callbacks: list[UserCallback]) -> Trainer:
    return Trainer(
        train_on_worker,
        worker_counts=worker_counts(recipe.batch, recipe.train, recipe.scale),
        room_ever=partial(max_workers, recipe.scale),
        steps_saved=partial(_steps_saved, run),
        failed=partial(_failed, run, fence),
        train_loop_config={"recipe": recipe, "run": run, "fence": fence, "source": source},
        scaling_config=_scaling(recipe),
        run_config=_run_config(recipe, run, callbacks),
        torch_config=TorchConfig(timeout_s=math.ceil(recipe.scale.collective_timeout_s)),
    )


@contextmanager
def _training_errors(run: Run, fence: Fence) -> Iterator[None]:
    """Raises the errors of Ray Train as ours, with their final cause."""
    try:
        yield
    except ray.train.TrainingFailedError as error:
        with suppress(StorageError):  # what ended the run is told in any case
            fence.check()
        final = final_cause(error)
        stopped = f"run {run.uri} stopped: {in_words(error)}"
        raise TrainingFailed(stopped, exit_code=final.exit_code if final else 1) from error
    except RayActorError as error:
        remove_orphaned_placement_groups()
        raise ControllerLost(f"run {run.uri} stopped with Ray Train's controller: {in_words(error)}") from error


def stands_at_the_end(recipe: Recipe, run: Run) -> bool:
    """Whether nothing is left to be trained."""
    if _steps_saved(run) < recipe.train.steps:
        return False
    found = read_newest(run.uri, on_corrupt=log.warning)
    return found is not None and found.progress.steps_done >= recipe.train.steps


def _source(recipe: Recipe, reader: "ray.ObjectRef[MicroBatchReader]") -> Source:
    """Where all workers of the run take their batches from."""
    scale = recipe.scale
    return start_source(
        reader,
        cpus=scale.data_cpus,
        room_ever=partial(max_readers, scale),
        label_selector=data_nodes(scale),
        max_workers=scale.max_workers,
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


def _scaling(recipe: Recipe) -> ScalingConfig:
    scale = recipe.scale
    workers = scale.workers if scale.min_workers < scale.max_workers else scale.max_workers
    return ScalingConfig(
        num_workers=workers,
        use_gpu=scale.use_gpu,
        resources_per_worker=worker_resources(scale),
        elastic_resize_monitor_interval_s=ROOM_PERIOD_S,
    )


def worker_environment(scale: ScaleConfig) -> dict[str, str]:
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
    fs, path = filesystem.url_to_fs(uri)
    return (path, None) if filesystem.is_local(uri) else (path, PyFileSystem(LiteralHandler(fs)))
