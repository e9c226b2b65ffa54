"""The fit: a recipe trained by Ray Train on a cluster. All that is Ray Train's is in this file."""

import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer

from mulan.config.audio_sections import AstTower
from mulan.config.errors import MulanError
from mulan.config.pretrained import AST_CHECKPOINT, pretrained_folder
from mulan.config.recipe import Recipe
from mulan.data import storage
from mulan.data.examples import MicroBatchReader
from mulan.data.pipeline import planned_batches
from mulan.data.schedule import Schedule
from mulan.training.checkpoint import Progress, checkpoint_name, latest_checkpoint, write_checkpoint
from mulan.training.engine import CheckpointedEngine
from mulan.training.errors import TrainingFailed
from mulan.training.run import JsonLinesLog, Run


def fit(recipe: Recipe, run: Run, *, callbacks: list[UserCallback] | None = None) -> None:
    """Trains a run to its last step, from its newest checkpoint if it has one.

    Ray must be initialised. Afterwards the newest checkpoint of the run stands at ``train.steps``.

    Raises:
        CorpusError, PlanError, RunError: before anything is started.
        TrainingFailed: the run stopped; it can be resumed.
    """
    check_corpus(recipe)
    run.begin(recipe)
    found = latest_checkpoint(run.uri)
    if found and found[1].steps_done >= recipe.train.steps:
        return
    trainer = TorchTrainer(
        _train_on_worker,
        train_loop_config={"recipe": recipe, "run": run, "reader": ray.put(MicroBatchReader.of(recipe))},
        scaling_config=_scaling(recipe),
        run_config=_run_config(recipe, run, callbacks or []),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise TrainingFailed(f"run {run.uri} failed: {_root_cause(error)}") from error
    if result.return_value is not None:
        raise TrainingFailed(f"run {run.uri} stopped: {result.return_value}")


def check_corpus(recipe: Recipe) -> None:
    """Makes sure that the recipe's corpus is there and has what the recipe asks for.

    Raises:
        CorpusError, PlanError, PretrainedError: it has not, or a pretrained tower is not there.
    """
    if recipe.loss.weights.read_text:
        pretrained_folder(recipe.text_tower.pretrained)
    if isinstance(recipe.audio_tower, AstTower) and recipe.audio_tower.pretrained:
        pretrained_folder(recipe.audio_tower.pretrained, AST_CHECKPOINT)
    MicroBatchReader.of(recipe)


def _train_on_worker(config: dict[str, Any]) -> str | None:
    """Returns why training stopped, if it stopped for a reason that another attempt would meet again."""
    # DeepSpeed chooses its accelerator when imported, from the environment that only the worker has
    from mulan.training.loop import Reports
    from mulan.training.worker import train_worker

    recipe, run = config["recipe"], config["run"]
    context = ray.train.get_context()
    rank = context.get_world_rank()
    schedule = _schedule(recipe, run.uri, rank, context.get_world_size())
    listener = _Listener(run, first_step=schedule.first_step) if rank == 0 else None

    def reports(engine: CheckpointedEngine) -> Reports:
        def milestone(metrics: dict[str, Any], progress: Progress, checkpoint_due: bool) -> None:
            if listener is not None:
                listener.flush()
            _report(engine if checkpoint_due else None, metrics, progress, rank)

        return Reports(
            step=listener.step if listener else _ignore,
            skipped=listener.skip if listener else _ignore,
            milestone=milestone,
        )

    try:
        cpus = max(1, recipe.scale.data_cpus // schedule.workers)
        batches = planned_batches(schedule, config["reader"], cpus=cpus)
        train_worker(recipe, run.uri, batches, schedule, reports, ray.train.torch.get_device())
    except MulanError as error:  # raised on all workers alike
        return str(error)
    finally:
        if listener is not None:
            listener.flush()
    return None


class _Listener:
    """Writes a run's logs; on one worker."""

    def __init__(self, run: Run, *, first_step: int) -> None:
        self._metrics = JsonLinesLog(run.metrics_uri, keep_steps=first_step)
        self._skipped = JsonLinesLog(run.skipped_uri, keep_steps=first_step)

    def step(self, line: dict[str, Any]) -> None:
        self._metrics.append([line])

    def skip(self, lines: list[dict[str, Any]]) -> None:
        self._skipped.append(lines)

    def flush(self) -> None:
        self._metrics.flush()
        self._skipped.flush()


def _ignore(_: object) -> None:
    pass


def _report(engine: CheckpointedEngine | None, metrics: dict[str, Any], progress: Progress, rank: int) -> None:
    """Tells Ray Train the metrics, with a checkpoint if there is an engine to make one of. Collective."""
    if engine is None:
        ray.train.report(metrics)
        return
    state = engine.state()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if rank == 0:
            write_checkpoint(Path(folder), state, progress)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint, checkpoint_dir_name=checkpoint_name(progress.steps_done))


def _schedule(recipe: Recipe, run_uri: str, rank: int, workers: int) -> Schedule:
    found = latest_checkpoint(run_uri)
    return Schedule(recipe.train, recipe.batch, rank, workers, first_step=found[1].steps_done if found else 0)


def _scaling(recipe: Recipe) -> ScalingConfig:
    scale = recipe.scale
    resources = {"CPU": float(scale.cpus_per_worker)} | ({"GPU": 1.0} if scale.use_gpu else {})
    return ScalingConfig(num_workers=scale.workers, use_gpu=scale.use_gpu, resources_per_worker=resources)


def _run_config(recipe: Recipe, run: Run, callbacks: list[UserCallback]) -> RunConfig:
    environment = {"TOKENIZERS_PARALLELISM": "false"}
    if not recipe.scale.use_gpu:
        environment["DS_ACCELERATOR"] = "cpu"
    path, filesystem = ray_storage(run.storage_uri)
    return RunConfig(
        name=run.name,
        storage_path=path,
        storage_filesystem=filesystem,
        failure_config=FailureConfig(max_failures=recipe.scale.max_failures),
        checkpoint_config=CheckpointConfig(num_to_keep=recipe.train.checkpoints_kept),
        callbacks=callbacks,
        worker_runtime_env={"env_vars": environment},
    )


def ray_storage(uri: str) -> tuple[str, FileSystem | None]:
    """Ray's way to name a storage: a path, and a pyarrow file system unless it is local."""
    fs, path = storage.filesystem(uri)
    return (path, None) if storage.is_local(uri) else (path, PyFileSystem(FSSpecHandler(fs)))


def _root_cause(error: BaseException) -> str:
    failures = getattr(error, "worker_failures", None) or {}
    for failure in failures.values():
        return f"worker: {failure}"
    return str(error)
