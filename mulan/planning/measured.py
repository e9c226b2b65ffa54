"""What the steps of a run have taken, from the lines of its ``metrics.jsonl``."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe, differing_fields
from mulan.runs.run import Run
from mulan.storage.jsonl import read_lines

MIN_STEPS = 4
"""Minimum number of steps of a run that is measured. Only the second half of the steps counts: in the first, readers
start, caches fill, and kernels are chosen."""

SPEED_DEPENDS_ON = (
    "audio_tower.",
    "batch.pairs_per_micro_batch",
    "data.sample_rate_hz",
    "data.window_s",
    "embedding_dim",
    "front_end.",
    "loss.weights.",
    "mulap.",
    "scale.cpus_per_worker",
    "scale.use_gpu",
    "semisupcon.views",
    "tagging.classes",
    "text_tower.",
    "train.compile",
    "train.deterministic",
    "train.exact_sums",
    "train.precision",
)
"""Fields and sections of a recipe on which the time of a pair depends, beside the device itself."""
_NOT_ON, _WEIGHTS = "audio_tower.expects_pretrained", "audio_tower.pretrained"


class NotMeasured(MulanError):
    """A run cannot be used as a measurement."""


@dataclass(frozen=True)
class MeasuredSteps:
    """The mean times of the steps of a run, and of what happens between them, in seconds."""

    run_uri: str
    """Folder of the run."""
    steps: int
    """Number of steps that were measured: the second half of those that were given."""
    workers: int
    """Number of training workers."""
    pairs: int
    """Number of pairs of a step."""
    step_s: float
    """Mean time of a step."""
    data_wait_share: float
    """Share of this time in which a worker waited for data, 0 to 1."""
    between_steps_s: float
    """Median time between two steps."""
    validation_s: float | None
    """Median time of a validation; None if there was none."""
    checkpoint_s: float | None
    """Median time for which training paused for a checkpoint; None if there was none that steps followed."""
    start_s: float | None
    """Time from the start of the workers to the end of the first step; None if the run does not say."""

    @property
    def pairs_per_s_per_worker(self) -> float:
        """Number of pairs per second of one worker, without validations and checkpoints."""
        return self.pairs / (self.step_s + self.between_steps_s) / self.workers


def measured_steps(run: Run, *, first_steps: int | None = None) -> MeasuredSteps:
    """Returns the mean times of the second half of a run's steps, and the pauses between all of them.

    Args:
        run: The run.
        first_steps: Number of its first steps that are used; None for all.

    Raises:
        RunError, RecipeError, DamagedFile: There is no such run, or it is damaged.
        NotMeasured: It has too few steps, or its number of workers is unknown.
    """
    recipe = run.recipe()
    lines = [line for line in run.metrics() if first_steps is None or line["step"] <= first_steps]
    if len(lines) < MIN_STEPS or any("time" not in line for line in lines):
        raise NotMeasured(f"run {run.uri} has {len(lines)} timed steps, and at least {MIN_STEPS} are needed")
    scale = recipe.scale
    if scale.min_workers != scale.max_workers:
        raise NotMeasured(
            f"run {run.uri} had {scale.min_workers} to {scale.max_workers} workers, so that the speed of one is "
            "unknown; measure a run with a fixed scale.workers, or give --pairs-per-s"
        )
    ordinary, validating, saving = _gaps(lines, recipe)
    later = lines[len(lines) // 2 :]
    between_s = median(ordinary) if ordinary else 0.0
    return MeasuredSteps(
        run_uri=run.uri,
        steps=len(later),
        workers=scale.max_workers,
        pairs=recipe.batch.pairs,
        step_s=fmean(line["step_s"] for line in later),
        data_wait_share=sum(line["data_wait_s"] for line in later) / sum(line["step_s"] for line in later),
        between_steps_s=between_s,
        validation_s=max(0.0, median(validating) - between_s) if validating else None,
        checkpoint_s=max(0.0, median(saving) - between_s) if saving else None,
        start_s=_start_s(run, lines),
    )


def check_comparable(measured: Recipe, planned: Recipe, *, run_uri: str) -> None:
    """Checks that a pair takes as long in a measured run as in a planned one, on the same device.

    Raises:
        NotMeasured: The recipes differ in fields on which it depends; lists them.
    """
    # other families take weights, but not their structure, from what the field names
    has_own_structure = planned.audio_tower.family != "pretrained"
    fields = {
        name: both
        for name, both in differing_fields(measured, planned).items()
        if name.startswith(SPEED_DEPENDS_ON) and name != _NOT_ON and not (name == _WEIGHTS and has_own_structure)
    }
    if fields:
        listed = "".join(f"\n  - {name}: {old!r} there, {new!r} here" for name, (old, new) in sorted(fields.items()))
        raise NotMeasured(
            f"the speed of run {run_uri} is that of another model; measure a short run of this recipe{listed}"
        )


def _gaps(lines: Sequence[dict[str, Any]], recipe: Recipe) -> tuple[list[float], list[float], list[float]]:
    """Returns the times between consecutive steps beside the steps themselves: of ordinary ones, of those that end with
    a validation, and of those that begin after a checkpoint.

    Gaps with both a validation and a checkpoint before it, and those before the first step of a resumed run, which are
    as long as the interruption, count for none of them.
    """
    ordinary, validating, saving = list[float](), list[float](), list[float]()
    for before, line in pairwise(lines):
        gap_s = line["time"] - before["time"] - line["step_s"]
        is_saved = before["step"] % recipe.train.checkpoint_every_steps == 0
        if line["step"] != before["step"] + 1 or (is_saved and "validation" in line):
            continue
        (validating if "validation" in line else saving if is_saved else ordinary).append(max(0.0, gap_s))
    return ordinary, validating, saving


def _start_s(run: Run, lines: Sequence[dict[str, Any]]) -> float | None:
    """Returns the time from the event with which the workers begin to the end of the first step."""
    events = [event for event in read_lines(run.events_uri) if event.get("from_step") == 0 and "time" in event]
    if lines[0]["step"] != 1 or not events:
        return None
    return max(0.0, lines[0]["time"] - events[-1]["time"])
