"""Training of a recipe by Ray Train: the driver, which starts the workers (:mod:`mulan.launch.worker`)."""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial

import ray
import ray.train
from pyarrow.fs import FileSystem, PyFileSystem
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig

from mulan.config.checks import worker_counts
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.data.freed_memory import KEEP_FREED_MEMORY
from mulan.data.planned_batches import BatchService, start_batch_service
from mulan.data.reader import MicroBatchReader
from mulan.instrumentation.on_worker import worker_environment as instruments_environment
from mulan.instrumentation.settings import InstrumentSettings
from mulan.launch.capacity import max_readers, max_workers, reader_labels, worker_resources
from mulan.launch.checks import check_corpus
from mulan.launch.cluster import SharedReader, share_reader
from mulan.launch.logs import driver_log
from mulan.launch.policies import ControllerLost, Trainer, TrainingFailed, describe_error, final_cause
from mulan.launch.worker import WorkerJob, label_of, train_on_worker
from mulan.monitoring.live_report import live_report
from mulan.private_ray.core import remove_orphaned_placement_groups
from mulan.private_ray.train import set_health_check_timeout
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import steps_saved
from mulan.runs.lease import Fence, hold_lease
from mulan.runs.run import Run
from mulan.runs.stop import RunStopped, StopRequest, stop_request_to
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import JsonLinesLog
from mulan.storage.trees import LiteralHandler
from mulan.tracking.follower import follow_run

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
    sweep: Fence | None = None,
    instruments: InstrumentSettings | None = None,
) -> None:
    """Trains a run to its last step, from its newest checkpoint if it has one.

    Ray must be initialised. Afterwards the newest checkpoint of the run is that of ``train.steps``. The run's lease is
    held meanwhile, so that another driver is refused.

    Args:
        reader: The shared reader of the recipe's corpus; the corpus is opened here if not given.
        sweep: The fence of the sweep that the run is a trial of, whose request to stop is this run's too.
        instruments: What the workers measure or watch around each step, and write into the run's folder.

    Raises:
        CorpusError, PlanError, RunError, RunHeld, StorageError: A check failed; nothing was started.
        ControllerLost, TrainingFailed: The run stopped; it can be resumed.
        RunStopped: The run was asked to stop, and has saved a checkpoint if it had workers.
        RunTakenOver: Another driver has taken over the run.
    """
    if reader is None:
        reader = share_reader(check_corpus(recipe))
    run.check(recipe, reader.index_sha256)
    label = label_of(run, sweep)
    with driver_log(label), hold_lease(run.uri, progress=partial(_last_step, run)) as fence:
        run.begin(recipe, reader.index_sha256)
        if is_finished(recipe, run):
            with follow_run(run, recipe, fence):  # trackers receive what they lack
                return
        set_health_check_timeout(recipe.scale.collective_timeout_s)
        job = WorkerJob(
            recipe=recipe,
            run=run,
            label=label,
            fences=(fence, sweep) if sweep else (fence,),
            source=_source(recipe, reader.reference),
            instruments=instruments or InstrumentSettings(),
            driver_began=time.time(),
        )
        page = live_report(run, fence) if sweep is None else nullcontext()  # a sweep has a page of its own
        with follow_run(run, recipe, fence), page:
            try:
                with _training_errors(run, job.fences):
                    _trainer(job, callbacks or []).fit()
            finally:
                job.source.end()
            if steps_saved(run.uri) < recipe.train.steps:  # the workers have ended in order
                raise _stopped(run, _stop_request(job.fences))


def _trainer(job: WorkerJob, callbacks: list[UserCallback]) -> Trainer:
    recipe, run = job.recipe, job.run
    return Trainer(
        train_on_worker,
        worker_counts=worker_counts(recipe.batch, recipe.train, recipe.scale),
        worker_limit=partial(max_workers, recipe.scale),
        saved_steps=partial(steps_saved, run.uri),
        on_failure=partial(_record_failure, run, job.fences[0]),
        stop_requested=partial(_is_asked_to_stop, job.fences),
        train_loop_config={"job": job},
        scaling_config=_scaling(recipe),
        run_config=_run_config(job, callbacks),
        torch_config=TorchConfig(timeout_s=math.ceil(recipe.scale.collective_timeout_s)),
    )


@contextmanager
def _training_errors(run: Run, fences: Sequence[Fence]) -> Iterator[None]:
    """Converts errors of Ray Train to :class:`TrainingFailed`, with their final cause, or to :class:`RunStopped`."""
    try:
        yield
    except ray.train.TrainingFailedError as error:
        final = final_cause(error)
        with suppress(StorageError):  # must not hide what ended the run
            fences[0].check()
        request = _stop_request(fences)
        if final is None and request is not None:  # without workers, or because of an error that is not final
            raise _stopped(run, request) from error
        stopped = f"run {run.uri} stopped: {describe_error(error)}"
        exit_code, cause_name = (final.exit_code, final.cause_name) if final else (1, "")
        raise TrainingFailed(stopped, exit_code=exit_code, cause_name=cause_name) from error
    except RayActorError as error:
        remove_orphaned_placement_groups()
        raise ControllerLost(f"run {run.uri} stopped with Ray Train's controller: {describe_error(error)}") from error


def _stopped(run: Run, request: StopRequest | None) -> RunStopped:
    """Returns the error of a run whose training ended before its last step, by this request."""
    steps = steps_saved(run.uri)
    saved = f"at step {steps}, whose checkpoint is saved" if steps else "before its first step"
    return RunStopped(f"run {run.uri} stopped {saved}: {request or 'its workers ended'}")


def _stop_request(fences: Sequence[Fence]) -> StopRequest | None:
    """Returns the request because of which training may have ended; None if there is none, or storage does not say."""
    with suppress(StorageError):  # must not hide how training ended
        return stop_request_to(fences)
    return None


def _is_asked_to_stop(fences: Sequence[Fence]) -> bool:
    return stop_request_to(fences) is not None


def is_finished(recipe: Recipe, run: Run) -> bool:
    """Returns whether the run has been trained to its last step."""
    if steps_saved(run.uri) < recipe.train.steps:
        return False
    checkpoint = read_newest(run.uri, on_corrupt=log.warning)
    if checkpoint is None:
        return False
    with closing(checkpoint.state):
        return checkpoint.progress.steps_done >= recipe.train.steps


def _source(recipe: Recipe, reader: "ray.ObjectRef[MicroBatchReader]") -> BatchService:
    """Returns the source of the batches of all workers of the run."""
    scale = recipe.scale
    return start_batch_service(
        reader,
        cpus=scale.data_cpus,
        reader_limit=partial(max_readers, scale),
        label_selector=reader_labels(scale),
        max_workers=scale.max_workers,
        # before the other workers time out in a collective, whose error would not name the cause
        max_wait_s=_DATA_TIMEOUT_SHARE * scale.collective_timeout_s,
    )


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


def _run_config(job: WorkerJob, callbacks: list[UserCallback]) -> RunConfig:
    path, filesystem = ray_storage(job.run.storage_uri)
    return RunConfig(
        name=job.run.name,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=FailureConfig(max_failures=job.recipe.scale.max_failures),
        callbacks=callbacks,
        worker_runtime_env={
            "env_vars": instruments_environment(job.instruments) | worker_environment(job.recipe.scale)
        },
    )


def ray_storage(uri: str) -> tuple[str, FileSystem | None]:
    """Returns a storage the way Ray names it: a path, and a pyarrow file system unless it is local."""
    fs, path = filesystem.url_to_fs(uri)
    return (path, None) if filesystem.is_local(uri) else (path, PyFileSystem(LiteralHandler(fs)))
