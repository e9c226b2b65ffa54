"""The fit: a recipe trained by Ray Train on a cluster. All that is Ray Train's is in this file."""

import logging
import math
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import ray
import ray.train
import ray.train.torch
from pyarrow.fs import FileSystem, PyFileSystem
from ray.exceptions import RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig

from mulan.config.checks import worker_counts
from mulan.config.recipe import Recipe
from mulan.config.sections import ScaleConfig
from mulan.data.planned_batches import Source, start_source
from mulan.data.reader import MicroBatchReader
from mulan.launch.capacity import data_nodes, max_readers, max_workers, worker_resources
from mulan.launch.checks import check_corpus
from mulan.launch.policies import ControllerLost, Trainer, TrainingFailed, final_cause, in_words
from mulan.launch.ray_worker import train_on_worker
from mulan.private_ray.core import give_back
from mulan.private_ray.train import wait_for_answers
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.lease import Fence, held
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.errors import StorageError
from mulan.storage.jsonl import JsonLinesLog
from mulan.storage.trees import LiteralHandler

if TYPE_CHECKING:
    pass


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
