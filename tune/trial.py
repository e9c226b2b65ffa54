"""The trials of a sweep and their state, read from the sweep's folder.

A resumed sweep equals one that never stopped: the points of trials are known or stored, and their results are in their
runs.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from mulan.config.parsing import parse_json
from mulan.config.recipe import Recipe
from mulan.runs.checkpoint_list import steps_saved
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import DamagedFile
from tune.domains import settings
from tune.errors import SweepError
from tune.plan import SweepPlan
from tune.points import Point, known_point

FailureKind = Literal["diverged", "collapsed", "out of memory", "failed"]


@dataclass(frozen=True)
class Failure:
    """What ended a trial before its last step."""

    kind: FailureKind
    """Non-finite loss or gradient, collapsed embeddings, memory, or anything else."""
    step: int
    """The last step that was trained."""
    reason: str
    """The message of the error."""


@dataclass(frozen=True)
class Trial:
    """A point of the search space, and the run that tries it."""

    number: int
    run: Run
    point: Point | None
    """The value of each varied field by its path as in ``--set``; None if it has not been chosen yet."""

    @property
    def settings(self) -> list[str]:
        """The ``--set`` arguments of the trial."""
        return settings(self.point or {})

    def begin(self, point: Point, *, is_known: bool) -> "Trial":
        """Returns the trial with its point, which is stored unless it ``is_known`` in every call.

        What ended it in an earlier call is forgotten: it is tried again.

        Raises:
            StorageError: The point cannot be stored.
        """
        if not is_known:
            filesystem.write_atomically(self._uri_of("point.json"), json.dumps(dict(point)).encode())
        if filesystem.exists(self._uri_of("failure.json")):
            filesystem.remove(self._uri_of("failure.json"))
        return replace(self, point=point)

    def end(self, step: int, *, train_steps: int) -> None:
        """Records that the trial reached its last step, or was stopped for good.

        Args:
            step: The step at which it ended.
            train_steps: ``train.steps`` of the sweep; an earlier ``step`` means that the trial was stopped.

        Raises:
            StorageError: The record could not be written.
        """
        record = {"step": step, "train_steps": train_steps}
        filesystem.write_atomically(self._uri_of("over.json"), json.dumps(record).encode())

    def fail(self, failure: Failure) -> None:
        """Records what ended the trial.

        Raises:
            StorageError: The record could not be written.
        """
        filesystem.write_atomically(self._uri_of("failure.json"), json.dumps(vars(failure)).encode())

    def failure(self) -> Failure | None:
        """Returns what ended the trial, unless it has begun again.

        Raises:
            DamagedFile: The record is damaged.
        """
        record = self._record("failure.json", step=int, kind=str, reason=str)
        if record is not None and record["kind"] not in get_args(FailureKind):
            record["kind"] = "failed"
        return None if record is None else Failure(record["kind"], record["step"], record["reason"])

    def was_stopped(self) -> bool:
        """Returns whether ASHA stopped the trial for good.

        Raises:
            DamagedFile: The record of the trial's end is damaged.
        """
        record = self._record("over.json", step=int, train_steps=int)
        return record is not None and record["step"] < record["train_steps"]

    def is_over(self, recipe: Recipe) -> bool:
        """Returns whether nothing is left to train.

        That is so if the trial has all steps of ``recipe``, if ASHA stopped it for good, or if its loss was not finite
        or its embeddings collapsed, as they would again, and the recipe's ``health`` section stops at that. A trial
        that reached the last step of a shorter sweep continues, and so does one that failed otherwise or was
        interrupted.

        Raises:
            DamagedFile: A record of the trial is damaged.
        """
        if self.steps_saved() >= recipe.train.steps or self.was_stopped():
            return True
        record = self._record("over.json", step=int, train_steps=int)
        if record is not None and record["step"] >= recipe.train.steps:
            return True
        failure = self.failure()
        stops = {"diverged": recipe.health.non_finite, "collapsed": recipe.health.collapse}
        return failure is not None and stops.get(failure.kind) == "stop"

    def steps_saved(self) -> int:
        """Returns the number of steps of the newest checkpoint; 0 if there is none."""
        return steps_saved(self.run.uri)

    def _uri_of(self, name: str) -> str:
        return filesystem.join(self.run.uri, name)

    def _record(self, name: str, **types: type) -> dict[str, Any] | None:
        uri = self._uri_of(name)
        try:
            record = parse_json(filesystem.read_bytes(uri))
            return {key: of_type(record[key]) for key, of_type in types.items()}
        except (FileNotFoundError, NotADirectoryError):  # perhaps removed just now, by a trial that begins again
            return None
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise DamagedFile(f"{uri} is damaged; remove it to continue the trial") from error


def planned_trials(plan: SweepPlan, trials: int) -> list[Trial]:
    """Returns the trials of a sweep: the requested number, or all existing ones if there are more.

    Raises:
        DamagedFile: The stored point of a trial is damaged.
        SweepError: The grid has fewer points.
    """
    names = [re.fullmatch(r"trial_(\d{4})", entry) for entry in filesystem.names_in(plan.runs_uri)]
    existing = [int(name[1]) + 1 for name in names if name]
    return [_trial(plan, number) for number in range(max([trials, *existing]))]


def check_steps(trials: Sequence[Trial], steps: int) -> None:
    """Checks that no trial has been trained for more steps than those of the sweep.

    Raises:
        SweepError: One has.
    """
    longest = max(trials, key=Trial.steps_saved)
    if (saved := longest.steps_saved()) > steps:
        raise SweepError(
            f"{longest.run.uri} has a checkpoint of step {saved}, so train.steps = {steps} cannot be "
            f"reached any more; set it to {saved} or more, or give another --name"
        )


def _trial(plan: SweepPlan, number: int) -> Trial:
    run = Run(plan.runs_uri, f"trial_{number:04d}")
    point = known_point(plan, number)
    return Trial(number, run, _stored_point(run, plan) if point is None else point)


def _stored_point(run: Run, plan: SweepPlan) -> Point | None:
    uri = filesystem.join(run.uri, "point.json")
    try:
        point = parse_json(filesystem.read_bytes(uri))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        point = None
    domains = plan.space.domains
    if (
        not isinstance(point, dict)
        or point.keys() != domains.keys()
        or not all(domain.contains(point[field]) for field, domain in domains.items())
    ):
        raise DamagedFile(f"{uri} is damaged; remove the folder of the trial to choose another point")
    return point
