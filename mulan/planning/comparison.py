"""A finished run, predicted from its first steps and compared with what it took.

Only what the first steps, the plan, the corpus and the model say is used for the prediction. The steps that it is
compared with are the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from mulan.benchmarks.synthetic import model_to_measure
from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Phase
from mulan.planning.measured import MIN_STEPS, MeasuredSteps, NotMeasured, measured_steps
from mulan.planning.model_needs import model_needs
from mulan.planning.needs import checkpoints_kept, checkpoints_written
from mulan.planning.reading import run_reading
from mulan.planning.reading_cost import measure_reading
from mulan.planning.speed import TrainingTime, measured_speed, training_time
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.run import Run
from mulan.storage.jsonl import read_lines
from mulan.training.batch_source import consumed_checksum

MAX_CHECKED_STEPS = 100
"""Maximum number of steps whose recordings are compared with the plan."""


@dataclass(frozen=True)
class Comparison:
    """A prediction and what it is compared with."""

    name: str
    unit: str
    predicted: float
    measured: float
    remark: str = ""
    is_bound: bool = False
    """Whether one is only a bound of the other, so that their ratio says nothing."""

    @property
    def ratio(self) -> float | None:
        """The prediction relative to the measurement; None if nothing was measured, or only a bound is known."""
        return self.predicted / self.measured if self.measured and not self.is_bound else None


def compare_run(run: Run, recipe: Recipe, reader: MicroBatchReader, *, first_steps: int | None) -> list[Comparison]:
    """Predicts a run from its first steps and compares it with the run.

    Args:
        run: A run that has trained all of its steps.
        recipe: Its recipe.
        reader: Reader of the recipe.
        first_steps: Number of steps that are used for the prediction; by default a quarter.

    Raises:
        NotMeasured: The run is not finished, has been resumed, or has too few steps.
    """
    lines, steps = run.metrics(), recipe.train.steps
    known = steps // 4 if first_steps is None else first_steps
    if [line["step"] for line in lines] != list(range(1, steps + 1)):
        raise NotMeasured(f"run {run.uri} has not trained all of its {steps} steps: compare a finished run")
    if any(event.get("from_step") for event in read_lines(run.events_uri)):
        raise NotMeasured(f"run {run.uri} was interrupted, so that its times are not those of training alone")
    if not MIN_STEPS <= known < steps:
        raise NotMeasured(f"--first-steps {known}: must be at least {MIN_STEPS} and less than the {steps} of the run")
    measured = measured_steps(run, first_steps=known)
    rest = _rest_time(measured, recipe, reader, known)
    whole = training_time(
        measured_speed(measured),
        recipe,
        run_reading(reader, recipe.train),
        workers=measured.workers,
        steps=steps - 1,  # the first step is part of the start
        checkpoints=checkpoints_written(recipe.train, steps) - 1,
    )
    found = [
        Comparison(
            "pairs per second",
            "1/s",
            measured.workers * measured.pairs_per_s_per_worker,
            (steps - known) * recipe.batch.pairs / sum(line["step_s"] for line in lines[known:]),
            f"of steps {known + 1} to {steps}, from the first {known}",
        ),
        Comparison(
            f"steps {known + 1} to {steps}, with validations and pauses for checkpoints",
            "s",
            rest.total_s,
            lines[-1]["time"] - lines[known - 1]["time"],
        ),
    ]
    stage_s = run.seconds().get("train")
    if stage_s is not None and measured.start_s is not None:
        found.append(
            Comparison(
                "training from its command to the last checkpoint",
                "s",
                measured.start_s + whole.total_s,
                stage_s,
                "predicted without the start of Ray and the end of the last checkpoint",
            )
        )
    return [
        *found,
        _recordings(lines, reader, recipe),
        *_checkpoints(run, recipe, measured),
        _readers(lines, reader, recipe),
    ]


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Returns the comparisons as a table."""
    table = Table("quantity", "predicted", "measured", "ratio", "remark")
    for column in table.columns[1:4]:
        column.justify = "right"
    for each in comparisons:
        ratio = "" if each.ratio is None else f"{each.ratio:.3f}"
        numbers = [f"{value:,.6g} {each.unit}".rstrip() for value in (each.predicted, each.measured)]
        table.add_row(*map(Text, [each.name, *numbers, ratio, each.remark]))
    return table


def _rest_time(measured: MeasuredSteps, recipe: Recipe, reader: MicroBatchReader, known: int) -> TrainingTime:
    """Returns the predicted time from the end of step ``known`` to that of the last step."""
    train = recipe.train
    whole, first = (run_reading(reader, train, steps=steps) for steps in (train.steps, known))
    after = replace(
        whole,
        validations=whole.validations - first.validations,
        validation_pairs=whole.validation_pairs - first.validation_pairs,
    )
    return training_time(
        measured_speed(measured),
        recipe,
        after,
        workers=measured.workers,
        steps=train.steps - known,
        # steps follow the checkpoint of step ``known``, if there is one, but not the last checkpoint
        checkpoints=checkpoints_written(train, train.steps) - 1 - checkpoints_written(train, known - 1),
    )


def _recordings(lines: Sequence[dict[str, Any]], reader: MicroBatchReader, recipe: Recipe) -> Comparison:
    """Compares the recordings of steps, which determine the requests and bytes, by their checksums."""
    numbers = np.unique(np.linspace(0, len(lines) - 1, MAX_CHECKED_STEPS).round().astype(int))
    plan, equal = reader.plans[Phase.TRAIN], 0
    for number in numbers.tolist():
        checksum = 0
        for micro_batch in range(recipe.batch.micro_batches):
            rows = [example.row for example in plan.micro_batch(lines[number]["step"] - 1, micro_batch)]
            checksum ^= consumed_checksum(micro_batch, tuple(reader.corpus.recording_ids(rows)))
        equal += lines[number]["recordings_checksum"] == f"{checksum:016x}"
    remark = "where they are equal, requests and bytes are those of the index; unreadable recordings are replaced"
    return Comparison("steps that read the planned recordings, of those checked", "", len(numbers), equal, remark)


def _checkpoints(run: Run, recipe: Recipe, measured: MeasuredSteps) -> list[Comparison]:
    size = model_needs(model_to_measure(recipe), recipe, workers=measured.workers)
    there = checkpoints(run.uri)
    newest = sum(file["bytes"] for file in there[0].files.values()) if there else 0
    kept = checkpoints_kept(recipe.train)
    return [
        Comparison("bytes of a checkpoint", "", size.checkpoint_bytes, newest),
        Comparison("checkpoints kept", "", kept, len(there), "predicted: at most, the best may be a latest one", True),
    ]


def _readers(lines: Sequence[dict[str, Any]], reader: MicroBatchReader, recipe: Recipe) -> Comparison:
    """Compares the CPU time of readers with the time for which they were active, at the end of each step."""
    cost = measure_reading(reader, steps=recipe.train.steps, micro_batches=recipe.batch.micro_batches)
    active_s = sum(now["data_cpus"] * (now["time"] - before["time"]) for before, now in pairwise(lines))
    pairs = run_reading(reader, recipe.train).pairs
    remark = "measured: the time for which readers were active, at most; a run does not record their CPU time"
    return Comparison("CPU time for reading and decoding", "s", pairs * cost.cpu_s, active_s, remark, is_bound=True)
