"""An attempt to train a run, on one of its workers: what is read, built, observed and recorded there."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack

import ray
import ray.train
import ray.train.torch

from mulan.config.checks import pretraining_warnings
from mulan.config.recipe import Recipe
from mulan.data.planned_batches import planned_batches
from mulan.data.schedule import Schedule
from mulan.distributed.collectives import all_gather_objects
from mulan.instrumentation.on_worker import instruments_on_worker
from mulan.launch.devices import describe_devices, device_kind, reproducibility_warnings
from mulan.launch.logs import label_worker_records
from mulan.launch.model_flops import SharedFlops
from mulan.launch.ray_observer import RayObserver, RecordingRayObserver
from mulan.launch.ray_worker import raise_on_all_workers, read_newest_on_all_workers
from mulan.launch.readers_watch import ReadersWatch
from mulan.launch.worker import WorkerJob
from mulan.runs.checkpoint_writer import CheckpointWriter
from mulan.runs.interruptions import STARTED, Interruptions
from mulan.runs.recorder import Recorder
from mulan.runs.stop import StopWatch
from mulan.tasks.evaluation import ValidationEvaluation
from mulan.tasks.task import task_of
from mulan.telemetry.peaks import peak_flops
from mulan.telemetry.publisher import Publisher, RayGauges
from mulan.telemetry.run_telemetry import RunTelemetry
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.loop import train
from mulan.training.state import Progress
from mulan.training.worker import prepare_engine

log = logging.getLogger(__name__)


def train_attempt(job: WorkerJob) -> None:
    """Trains from the run's newest checkpoint to its last step, or until it is asked to stop. Collective.

    Raises:
        MulanError: Training failed on this worker or, for errors before the first step, on any worker.
    """
    recipe, run = job.recipe, job.run
    task = task_of(recipe)
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    record_fields = label_worker_records(job.label, rank)
    on_corrupt: list[str] = []
    node = ray.get_runtime_context().get_node_id()
    checkpoint = read_newest_on_all_workers(run.uri, place=node, on_corrupt=on_corrupt.append)
    progress = checkpoint.progress if checkpoint else Progress(steps_done=0)
    schedule = Schedule(recipe.train, recipe.batch, rank, workers, first_step=progress.steps_done)
    device = ray.train.torch.get_device()
    own = device_kind(device, threads=recipe.scale.cpus_per_worker), peak_flops(device, recipe.train.precision)
    with ExitStack() as stack:
        records = raise_on_all_workers(lambda: _FirstWorkersRecords(job, progress) if rank == 0 else None)
        kinds, peaks = zip(*all_gather_objects(own), strict=True)
        if records is not None:
            stack.enter_context(records.recorder)
            records.begin(recipe, on_corrupt, kinds)
        checkpoints = stack.enter_context(_checkpoint_writer(job))
        telemetry = RunTelemetry(stack.enter_context(Publisher(RayGauges(job.label))), rank=rank, device=device)
        # the first worker begins it, and the others receive its id
        attempt = all_gather_objects(job.source.begin(schedule) if rank == 0 else "")[0]
        batches = planned_batches(job.source, attempt, schedule)
        if records is not None:
            stack.enter_context(records.readers)
            stack.enter_context(records.stop)
        evaluation = raise_on_all_workers(lambda: ValidationEvaluation.from_recipe(recipe, rank, workers))
        flops = SharedFlops(recipe, rank)
        engine = prepare_engine(task, recipe, checkpoint, device, inspect=flops.count)
        observer = RayObserver(run, engine, telemetry, checkpoints)
        if records is not None:
            observer = records.observer(job, engine, telemetry, checkpoints, kinds, peaks)
        counted = flops.share(records.recorder.event if records else None)
        instruments, observed = stack.enter_context(
            instruments_on_worker(
                job.instruments,
                batches,
                run_uri=run.uri,
                steps_done=progress.steps_done,
                collective_timeout_s=recipe.scale.collective_timeout_s,
                device=device,
                report=records.recorder.event if records else None,
            )
        )
        instruments = [record_fields, *instruments]
        train(task, recipe, engine, observed, schedule, progress, observer, evaluation, instruments, flops=counted)


def _checkpoint_writer(job: WorkerJob) -> CheckpointWriter:
    """Returns this worker's writer of checkpoints. Collective."""
    train = job.recipe.train
    keep = {"keep_latest": train.keep_latest_checkpoints, "keep_best": train.keep_best_checkpoints}
    return CheckpointWriter(job.run.uri, **keep, fence=job.fences[0])


class _FirstWorkersRecords:
    """What only the first worker has: the recorder of the run, and what it watches and reports there."""

    def __init__(self, job: WorkerJob, progress: Progress) -> None:
        """``progress``: that of the checkpoint from which the attempt continues."""
        self._progress = progress
        self._interruptions = Interruptions.of(job.run, progress.steps_done, driver_began=job.driver_began)
        recorder = Recorder(job.run, first_step=progress.steps_done, fence=job.fences[0])
        self.recorder = recorder
        self.readers = ReadersWatch(job.source, on_change=recorder.event)
        self.stop = StopWatch(
            job.fences, on_request=lambda request: recorder.event(f"stop {request}; a checkpoint follows")
        )

    def begin(self, recipe: Recipe, on_corrupt: Sequence[str], kinds: Sequence[str]) -> None:
        """Records the start of the attempt, on workers of these kinds of device."""
        steps_done = self._progress.steps_done
        for text in on_corrupt:
            self.recorder.event(text)
        start = f"{len(kinds)} workers continue from step {steps_done} on {describe_devices(kinds)}"
        self.recorder.event(start, fields={STARTED: steps_done})
        for text in pretraining_warnings(recipe.audio_tower):
            self.recorder.event(text)
        for text in reproducibility_warnings(kinds, self._progress):
            log.warning("%s", text)
            self.recorder.event(text)

    def observer(
        self,
        job: WorkerJob,
        engine: CheckpointedEngine,
        telemetry: RunTelemetry,
        checkpoints: CheckpointWriter,
        kinds: Sequence[str],
        peaks: Sequence[float | None],
    ) -> RecordingRayObserver:
        """Returns the observer that records; publishes the attempt."""
        restarts, steps_done = self._interruptions.restarts, self._progress.steps_done
        telemetry.attempt(job.recipe, len(kinds), restarts, checkpoint_step=steps_done)
        return RecordingRayObserver(
            job.run,
            engine,
            telemetry,
            checkpoints,
            self.recorder,
            self.readers,
            self.stop,
            selected_by=job.recipe.selection_metric.name,
            trained_on=sorted({*kinds, *self._progress.trained_on}),
            pairs=job.recipe.batch.pairs,
            peaks=peaks,
            interruptions=self._interruptions,
        )
