"""The policies of a run's trainer: the number of workers, when to give up, and how failures are reported."""

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mulan.config.errors import MulanError
from mulan.private_ray.train import DelegatingTrainer, Verdict, controller_error, is_startup_timeout, worker_errors


class TrainingFailed(MulanError):
    """Training ended before its last step; once the cause is fixed, the same name resumes the run."""

    def __init__(self, message: str, *, exit_code: int = 1, cause_name: str = "") -> None:
        """
        Args:
            exit_code: The exit code of the error that ended training, which may be another error of a worker.
            cause_name: The name of that error's class, if it is known.
        """
        super().__init__(message)
        self.exit_code, self.cause_name = exit_code, cause_name


class ControllerLost(TrainingFailed):
    """The controller of a run's workers has died, and the workers with it; the run can be resumed."""


class Trainer(DelegatingTrainer):
    """Uses only numbers of workers that divide the work evenly, and resets the failure count on progress."""

    def __init__(
        self,
        *arguments: Any,
        worker_counts: list[int],
        worker_limit: Callable[[], int | None],
        saved_steps: Callable[[], int],
        on_failure: Callable[[str], None],
        stop_requested: Callable[[], bool],
        **named: Any,
    ) -> None:
        """
        Args:
            worker_counts: The numbers of workers that may be used, within the bounds of ``scaling_config``.
            worker_limit: Function that returns the number of workers that the cluster can ever hold; None if no limit
                is known. Like the other functions, it is called in Ray Train's controller.
            saved_steps: Function that returns the step of the newest checkpoint.
            on_failure: Function that is called with a description of each failure of the workers.
            stop_requested: Function that returns whether the run is asked to stop. While there are workers, they look
                themselves.
        """
        super().__init__(
            *arguments,
            count_policy=EvenShares(worker_counts, saved_steps, worker_limit, stop_requested),
            verdict=FailuresInARow(saved_steps, on_failure, stop_requested),
            **named,
        )


class StoppedWaiting(MulanError):
    """Raised in Ray Train's controller when the run is asked to stop while it has no workers."""


class EvenShares:
    """Uses the largest possible one of the given numbers of workers, and resizes right after a checkpoint, so that
    almost no step is repeated."""

    POLL_PERIOD_S = 10.0
    """The time after which the limit is queried again, since it may have been raised, and a request to stop."""

    def __init__(
        self,
        worker_counts: list[int],
        saved_steps: Callable[[], int],
        worker_limit: Callable[[], int | None],
        stop_requested: Callable[[], bool],
    ) -> None:
        self._worker_counts, self._saved_steps, self._worker_limit = worker_counts, saved_steps, worker_limit
        self._stop_requested = stop_requested
        self._requested, self._polled_s, self._looked_s = 0, -math.inf, -math.inf
        self._steps_before: int | None = None
        """The step of the newest checkpoint when a larger number of workers was offered."""

    def usable_workers(self, room: int) -> int:
        return max((count for count in self._worker_counts if count <= room), default=0)

    def while_waiting(self) -> None:
        if time.monotonic() - self._looked_s >= self.POLL_PERIOD_S:
            self._looked_s = time.monotonic()
            if _is_asked(self._stop_requested):
                raise StoppedWaiting("the run was asked to stop while it waited for workers")

    def workers_to_request(self) -> int:
        if time.monotonic() - self._polled_s >= self.POLL_PERIOD_S:
            room = self._worker_limit()
            usable = self.usable_workers(max(self._worker_counts) if room is None else room)
            self._requested = usable or min(self._worker_counts)  # requested nevertheless, and reported as missing
            self._polled_s = time.monotonic()
        return self._requested

    def should_resize(self, offer: int | None) -> bool:
        if offer is None:
            self._steps_before = None
            return False
        try:
            steps = self._saved_steps()
        except (OSError, MulanError):  # a temporary storage failure must not end the run
            return False
        if self._steps_before is None:
            self._steps_before = steps
        if steps > self._steps_before:
            self._steps_before = None
            return True
        return False


class FailuresInARow:
    """Counts failures only until there is progress: otherwise a run on preemptible machines would end by the failures
    of several weeks."""

    def __init__(
        self, saved_steps: Callable[[], int], on_failure: Callable[[str], None], stop_requested: Callable[[], bool]
    ) -> None:
        self._saved_steps, self._on_failure, self._stop_requested = saved_steps, on_failure, stop_requested
        self._steps_before = 0

    def __call__(self, error: Exception) -> Verdict:
        if is_startup_timeout(error):  # every minute while there is no room; the driver reports it
            return Verdict.GIVE_UP if _is_asked(self._stop_requested) else Verdict.COUNT
        if isinstance(controller_error(error), StoppedWaiting):
            return Verdict.GIVE_UP
        progress = False
        with suppress(OSError, MulanError):  # a storage failure must not keep the workers from restarting
            self._on_failure(describe_error(error))
            steps = self._saved_steps()
            progress, self._steps_before = steps > self._steps_before, max(steps, self._steps_before)
        if final_cause(error) is not None or _is_asked(self._stop_requested):
            return Verdict.GIVE_UP
        return Verdict.RESET_COUNT if progress else Verdict.COUNT


def _is_asked(stop_requested: Callable[[], bool]) -> bool:
    with suppress(OSError, MulanError):  # a storage failure must not end the run
        return stop_requested()
    return False


def final_cause(error: Exception) -> TrainingFailed | None:
    """Returns the error of a worker that another attempt would meet again; None if there is none."""
    return next((cause for cause in worker_errors(error).values() if isinstance(cause, TrainingFailed)), None)


def describe_error(error: Exception) -> str:
    """Describes an error of Ray Train: by its final cause if that is known, otherwise by a line for each worker."""
    if final := final_cause(error):
        return str(final)
    lines = [f"worker {rank}: {_first_line(cause)}" for rank, cause in worker_errors(error).items()]
    return "; ".join(lines) or _first_line(controller_error(error))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    died = re.search(r"The actor is dead because [^.\n]*", text)  # follows names and numbers
    return f"{type(error).__name__}: {died.group() if died else text}".splitlines()[0]
