"""The training loop, independent of launcher and storage: it needs only batches, an engine and an observer.

Each step: take, step, exchange, check, validate, log, checkpoint.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mulan.config.objectives import collapsed_losses
from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.schedule import Schedule
from mulan.distributed.batch_norm import RunningStatistics
from mulan.model.deterministic import deterministic_kernels
from mulan.tasks.evaluation import ValidationEvaluation
from mulan.tasks.task import Task
from mulan.training.batch_source import BatchSource, StepReport
from mulan.training.engines.base import Engine
from mulan.training.health import HealthWatch, SkippedShare
from mulan.training.instrument import StepInstrument
from mulan.training.observer import TrainingObserver
from mulan.training.optimizer import learning_rate
from mulan.training.state import Progress
from mulan.training.step import train_step
from mulan.training.validation import validate

PREEMPTION_PERIOD_S = 5.0
"""The time between two checks for preempted nodes, each of which sends a message to Ray's controller."""


def train(
    task: Task,
    recipe: Recipe,
    engine: Engine,
    batches: Iterator[Batch],
    schedule: Schedule,
    progress: Progress,
    observer: TrainingObserver,
    evaluation: ValidationEvaluation | None = None,
    instruments: Sequence[StepInstrument] = (),
    *,
    flops: Callable[[Batch], int] | None = None,
) -> None:
    """Trains from ``progress`` to the recipe's last step. Collective: every worker calls it with its own batches.

    It returns earlier, after a checkpoint, if the observer of a worker knows of a request to stop.

    Args:
        evaluation: The evaluation in each validation (:meth:`ValidationEvaluation.from_recipe`).
        instruments: Called around each step, the first one outermost.
        flops: Function that returns the model FLOPs of a micro-batch, for the metrics; None to leave them out.

    Raises:
        NonFiniteStep, EmbeddingsCollapsed: The recipe's ``health`` section ends the run at such a step.
        NotDeterministic: An operation has no deterministic kernel, and the recipe requires one.
        TooManySkippedRecordings: More recordings were skipped than ``data.max_skipped_share`` allows.
        EvaluationError: The evaluation has no score ``evaluation.select``.
        MulanError: The observer of a worker reports a fatal error.
    """
    assert progress.steps_done == schedule.first_step, f"data starts at {schedule.first_step}, weights at {progress}"
    source = BatchSource(batches, schedule, flops)
    statistics = RunningStatistics(engine.module)
    health = _health_watch(recipe, progress, observer)
    skipped = SkippedShare(recipe.data.max_skipped_share, progress.skipped_recordings)
    preemption = _PreemptionWatch(observer)
    with deterministic_kernels(recipe.train.deterministic):
        for step in range(progress.steps_done + 1, recipe.train.steps + 1):
            with _observed(step, instruments):
                begun = time.perf_counter()
                micro_batches = source.take(schedule.train_micro_batches_per_worker)
                measured = train_step(engine, micro_batches, statistics, task, recipe.train)
                report = source.exchange_step_report(measured, observer.fatal_error(), stops=observer.stop_requested())
                seconds = time.perf_counter() - begun
            # raised on all workers in the same step, so that none waits in a collective
            if report.fatal_error is not None:
                raise report.fatal_error
            health.check(step, report.measured, source.recordings)
            skipped.add(report.skipped)
            metrics = _step_metrics(recipe, step, report, skipped, health, seconds=seconds)

            newly_skipped = report.skipped
            if schedule.validates_after(step):
                micro_batches = source.take(schedule.validation_micro_batches_per_worker)
                metrics["validation"] = validate(engine, micro_batches, task, evaluation)
                # not counted, since every validation skips the same recordings
                newly_skipped = newly_skipped + source.exchange_step_report().skipped

            observer.on_step(metrics)
            observer.on_skipped_recordings(step, newly_skipped)
            skipped.check(step * recipe.batch.pairs)

            is_due = step % recipe.train.checkpoint_every_steps == 0 or step == recipe.train.steps
            if preemption.has_new_nodes(report.clock_s) or report.stops or is_due:
                progress = Progress(step, skipped.counts(), **health.counts())
                observer.on_checkpoint(_flat(metrics), progress)
            elif "validation" in metrics:  # the metrics of a checkpoint include the scores
                observer.on_validation(_flat(metrics))
            if report.stops:
                return


@contextmanager
def _observed(step: int, instruments: Sequence[StepInstrument]) -> Iterator[None]:
    for instrument in instruments:
        instrument.begin_step(step)
    yield
    for instrument in reversed(instruments):
        instrument.end_step(step)


def _health_watch(recipe: Recipe, progress: Progress, observer: TrainingObserver) -> HealthWatch:
    return HealthWatch(
        recipe.health,
        recipe.batch,
        progress,
        observer.on_anomaly,
        collapsed=collapsed_losses(recipe.loss, recipe.batch.pairs),
        exact_sums=recipe.train.exact_sums,
        warmup_steps=recipe.optim.warmup_steps,
    )


def _step_metrics(
    recipe: Recipe, step: int, report: StepReport, skipped: SkippedShare, health: HealthWatch, *, seconds: float
) -> dict[str, Any]:
    """Returns the line of a step in ``metrics.jsonl``; None represents nonfinite numbers, which JSON does not have."""
    return {
        "step": step,
        **{name: value if math.isfinite(value) else None for name, value in report.measured.items()},
        "learning_rate": learning_rate(recipe.optim, step - 1),
        "pairs_per_s": recipe.batch.pairs / seconds,
        "step_s": seconds,
        "data_wait_s": report.data_wait_s,
        **({} if report.model_flops is None else {"model_flops": report.model_flops}),
        "recordings_checksum": report.recordings_checksum,
        "skipped_recordings": skipped.counts(),
        "collapsed_steps": health.counts()["collapsed_steps"],
    }


def _flat(metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns metrics with validation scores as ``validation_NAME``, since Ray's tools expect a flat dict."""
    scores = metrics.get("validation", {})
    rest = {name: value for name, value in metrics.items() if name != "validation"}
    return rest | {f"validation_{name}": value for name, value in scores.items()}


class _PreemptionWatch:
    """Checks every few seconds whether new nodes are about to be preempted."""

    def __init__(self, observer: TrainingObserver) -> None:
        self._observer, self._checked_s, self._nodes = observer, -math.inf, frozenset[str]()

    def has_new_nodes(self, clock_s: float) -> bool:
        """Returns True if there are new nodes; ``clock_s`` is the same on all workers, so that they check together."""
        if clock_s - self._checked_s < PREEMPTION_PERIOD_S:
            return False
        self._checked_s, known_nodes = clock_s, self._nodes
        self._nodes = self._observer.preempted_nodes()
        return bool(self._nodes - known_nodes)  # one checkpoint per node, then training continues
