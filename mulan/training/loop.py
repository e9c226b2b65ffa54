"""The training loop. It knows no launcher: it takes an iterator of batches, an engine and what to do with results."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch, SkippedRecording
from mulan.data.errors import TooManySkippedRecordings
from mulan.data.schedule import Schedule
from mulan.distributed.batch_norm import RunningStatistics
from mulan.storage.errors import StorageError
from mulan.training.batch_source import BatchSource
from mulan.training.engines.base import Engine
from mulan.training.health import HealthWatch
from mulan.training.observer import TrainingObserver
from mulan.training.optimizer import learning_rate
from mulan.training.state import Progress
from mulan.training.step import train_step
from mulan.training.validation import validate

BAD_SHARE_JUDGED_FROM = 1000
"""Examples after which a share of bad recordings means something."""

LEAVING_PERIOD_S = 5.0
"""Between two looks at whether machines are about to be taken away, which cost a message around the cluster."""


def train(
    recipe: Recipe,
    engine: Engine,
    batches: Iterator[Batch],
    schedule: Schedule,
    progress: Progress,
    reports: TrainingObserver,
) -> None:
    """Trains from ``progress`` to the recipe's last step. Collective: every worker calls it with its own batches.

    Raises:
        NonFiniteStep, EmbeddingsCollapsed: where the recipe's ``health`` says that this ends a run.
        StorageError: storage took no checkpoint, or no record of the run; the last checkpoint written stands.
        TooManySkippedRecordings: more were replaced than ``data.max_skipped_share`` allows.
    """
    source = BatchSource(batches, schedule)
    statistics = RunningStatistics(engine.module)
    replaced = Counter(progress.replaced)
    health = HealthWatch(recipe, progress, reports.found)
    asked_s, leaving = -math.inf, frozenset[str]()
    for steps_done in range(progress.steps_done + 1, recipe.train.steps + 1):
        begun = time.perf_counter()
        measured = train_step(engine, source.take(schedule.train_micro_batches_per_worker), statistics, recipe)
        told = source.told(reports.fault(), measured)
        if told.fault is not None:
            raise StorageError(told.fault)
        health.judge(steps_done, told.measured, source.recordings)
        replaced.update(bad.reason for bad in told.skipped)
        seconds = time.perf_counter() - begun
        line: dict[str, Any] = {
            "step": steps_done,
            **{name: value if math.isfinite(value) else None for name, value in told.measured.items()},
            "learning_rate": learning_rate(recipe.optim, steps_done - 1),
            "pairs_per_s": recipe.batch.pairs / seconds,
            "step_s": seconds,
            "data_wait_s": told.waited_s,
            "recordings": told.recordings,
            "replaced": dict(replaced),
        }
        validated = schedule.validates_after(steps_done)
        if validated:
            line["validation"] = validate(recipe, engine, source.take(schedule.validation_micro_batches_per_worker))
        reports.step(line)
        # those of validations are named, and not counted every time
        reports.skipped(steps_done, [*told.skipped, *(source.told().skipped if validated else ())])
        _check_bad_share(replaced, steps_done * recipe.batch.pairs, recipe.data.max_skipped_share, told.skipped)
        checkpoint_due = steps_done % recipe.train.checkpoint_every_steps == 0 or steps_done == recipe.train.steps
        if told.clock_s - asked_s >= LEAVING_PERIOD_S:
            asked_s, known, leaving = told.clock_s, leaving, reports.leaving()
            checkpoint_due = checkpoint_due or bool(leaving - known)  # once for each machine, and training goes on
        if validated or checkpoint_due:
            progress = Progress(steps_done, dict(replaced), **health.counts())
            reports.milestone(_flat(line), progress, checkpoint_due)


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    """Metrics by name alone, ``validation_recall10`` for the validation's recall10: what Ray's tools compare by."""
    scores = line.get("validation", {})
    return {k: v for k, v in line.items() if k != "validation"} | {f"validation_{k}": v for k, v in scores.items()}


def _check_bad_share(replaced: Counter[str], examples: int, allowed: float, newest: list[SkippedRecording]) -> None:
    judged = max(examples, BAD_SHARE_JUDGED_FROM)
    if replaced.total() > allowed * judged:
        listed = "\n".join(f"  - {reason}: {count}" for reason, count in replaced.most_common())
        last = "".join(f"\nthe last: {bad.recording_id}: {bad.reason}: {bad.detail}" for bad in newest[-1:])
        raise TooManySkippedRecordings(
            f"{replaced.total()} recordings could not be used in the first {examples} examples; "
            f"data.max_skipped_share = {allowed:g} allows {math.floor(allowed * judged)} in {judged}\n{listed}{last}\n"
            "quarantine.parquet in the run's folder names them all; mend them, leave them out, or allow more"
        )
