"""The training loop. It knows no launcher: it takes an iterator of batches, an engine and what to do with results."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.errors import TooManyBadRecordings
from mulan.data.schedule import Schedule
from mulan.objectives.collectives import gather_objects
from mulan.training.batch_norm import RunningStatistics
from mulan.training.checkpoint import Progress
from mulan.training.engine import Engine
from mulan.training.learning_rate import learning_rate
from mulan.training.step import training_step
from mulan.training.validation import validate

BAD_SHARE_JUDGED_FROM = 1000
"""Examples after which a share of bad recordings means something."""


@dataclass(frozen=True)
class Reports:
    """What the loop tells, on every worker alike; only one of them need listen."""

    step: Callable[[dict[str, Any]], None]
    """A line of ``metrics.jsonl``, after every step; with the scores of a validation where one follows."""
    skipped: Callable[[list[dict[str, Any]]], None]
    """Recordings replaced in a step: step, recording_id, reason and detail of each."""
    milestone: Callable[[dict[str, Any], Progress, bool], None]
    """After a validation, when a checkpoint is due (the flag), or both: newest metrics and progress. Collective."""


@dataclass
class _BatchSource:
    """Takes batches off the iterator, measures the wait, and insists on the schedule's order."""

    batches: Iterator[Batch]
    schedule: Schedule
    taken: int = 0
    waited_s: float = 0.0
    names: list[tuple[str, str, str]] = field(default_factory=list)

    def take(self, count: int) -> Iterator[Batch]:
        """The next batches, each when it is asked for: until then the device has work of the earlier ones."""
        for _ in range(count):
            begun = time.perf_counter()
            batch = next(self.batches)
            expected = self.schedule[self.taken]
            assert batch.item == expected, f"got {batch.item}, the schedule says {expected}"
            self.taken += 1
            self.names += [(bad.recording_id, bad.reason, bad.detail) for bad in batch.replaced]
            self.waited_s += time.perf_counter() - begun
            yield batch

    def told(self) -> tuple[float, list[tuple[str, str, str]]]:
        """Since the last call: the longest wait of a worker, in seconds, and what all workers lacked. Collective."""
        waits, names = zip(*gather_objects((self.waited_s, self.names)), strict=True)
        self.waited_s, self.names = 0.0, []
        return max(waits), [bad for of_worker in names for bad in of_worker]


def train(
    recipe: Recipe, engine: Engine, batches: Iterator[Batch], schedule: Schedule, progress: Progress, reports: Reports
) -> None:
    """Trains from ``progress`` to the recipe's last step. Collective: every worker calls it with its own batches.

    Raises:
        NonFiniteLoss: the weights are those of the step before.
        TooManyBadRecordings: more were replaced than ``data.max_bad_share`` allows.
    """
    source = _BatchSource(batches, schedule)
    statistics = RunningStatistics(engine.module)
    replaced = progress.replaced
    for steps_done in range(progress.steps_done + 1, recipe.train.steps + 1):
        begun = time.perf_counter()
        measured = training_step(engine, source.take(schedule.training_share), statistics, recipe)
        waited_s, skipped = source.told()
        replaced += len(skipped)
        seconds = time.perf_counter() - begun
        line: dict[str, Any] = {
            "step": steps_done,
            **measured,
            "learning_rate": learning_rate(recipe.optim, steps_done - 1),
            "pairs_per_s": recipe.batch.pairs / seconds,
            "step_s": seconds,
            "data_wait_s": waited_s,
            "replaced": replaced,
        }
        validated = schedule.validates_after(steps_done)
        if validated:
            line["validation"] = validate(recipe, engine, source.take(schedule.validation_share))
        reports.step(line)
        named = [*skipped, *(source.told()[1] if validated else ())]  # of validation: named, and not counted every time
        reports.skipped([dict(zip(_SKIPPED, (steps_done, *bad), strict=True)) for bad in named])
        _check_bad_share(replaced, steps_done * recipe.batch.pairs, recipe.data.max_bad_share, skipped)
        checkpoint_due = steps_done % recipe.train.checkpoint_every_steps == 0 or steps_done == recipe.train.steps
        if validated or checkpoint_due:
            reports.milestone(_flat(line), Progress(steps_done, replaced), checkpoint_due)


def _flat(line: dict[str, Any]) -> dict[str, Any]:
    """Metrics by name alone, ``validation_recall10`` for the validation's recall10: what Ray's tools compare by."""
    scores = line.get("validation", {})
    return {k: v for k, v in line.items() if k != "validation"} | {f"validation_{k}": v for k, v in scores.items()}


_SKIPPED = ("step", "recording_id", "reason", "detail")


def _check_bad_share(replaced: int, examples: int, allowed: float, newest: list[tuple[str, str, str]]) -> None:
    if replaced > allowed * max(examples, BAD_SHARE_JUDGED_FROM):
        name, reason, detail = newest[-1]
        raise TooManyBadRecordings(
            f"{replaced} of {examples} examples could not be used, more than data.max_bad_share = {allowed:g} allows "
            f"(of {BAD_SHARE_JUDGED_FROM} examples at least). All: skipped.jsonl. The last: {name}: {reason}: {detail}"
        )
