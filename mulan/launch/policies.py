"""The trainer of a run: how many workers it takes, when it gives up, and what it tells of failures."""

import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mulan.config.errors import MulanError
from mulan.private_ray.train import DelegatingTrainer, Verdict, controller_error, is_startup_timeout, worker_errors


class TrainingFailed(MulanError):
    """Training ended before its last step; the run resumes under the same name once the cause is mended."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        """``exit_code``: of what ended it, which may be another error of a worker."""
        super().__init__(message)
        self.exit_code = exit_code


class ControllerLost(TrainingFailed):
    """The process that watched over a run's workers is gone, and they with it; the same run can be started again."""


class Trainer(DelegatingTrainer):
    """Takes only numbers of workers that share the work evenly, and counts failures anew whenever there is progress."""

    def __init__(
        self,
        *arguments: Any,
        worker_counts: list[int],
        room_ever: Callable[[], int | None],
        steps_saved: Callable[[], int],
        failed: Callable[[str], None],
        **named: Any,
    ) -> None:
        """
        Args:
            worker_counts: numbers of workers that may be used between the bounds of ``scaling_config``.
            room_ever: how many workers there can ever be room for; None where no limit is known. Called in Ray Train's
                controller, as are the others.
            steps_saved: the step of the newest checkpoint.
            failed: told of each failure of the workers, in words.
        """
        super().__init__(
            *arguments,
            count_policy=EvenShares(worker_counts, steps_saved, room_ever),
            verdict=FailuresInARow(steps_saved, failed),
            **named,
        )


class EvenShares:
    """Takes the largest of the given numbers of workers, and ends those at work when a checkpoint has just been
    written, so that next to nothing is done again."""

    LOOKS_AGAIN_S = 10.0
    """After which it asks again how much room there can be: a limit may have been raised."""

    def __init__(
        self, worker_counts: list[int], steps_saved: Callable[[], int], room_ever: Callable[[], int | None]
    ) -> None:
        self._worker_counts, self._steps_saved, self._room_ever = worker_counts, steps_saved, room_ever
        self._asked_for, self._looked_s = 0, -math.inf
        self._steps_before: int | None = None
        """The newest checkpoint's when the offer was made."""

    def usable_workers(self, room: int) -> int:
        return max((count for count in self._worker_counts if count <= room), default=0)

    def workers_to_request(self) -> int:
        if time.monotonic() - self._looked_s >= self.LOOKS_AGAIN_S:
            room = self._room_ever()
            most = self.usable_workers(max(self._worker_counts) if room is None else room)
            self._asked_for = most or min(self._worker_counts)  # which is what is missing, and is told to be
            self._looked_s = time.monotonic()
        return self._asked_for

    def should_resize(self, offer: int | None) -> bool:
        if offer is None:
            self._steps_before = None
            return False
        try:
            steps = self._steps_saved()
        except (OSError, MulanError):  # storage that fails for a while must not end the run
            return False
        if self._steps_before is None:
            self._steps_before = steps
        if steps > self._steps_before:
            self._steps_before = None
            return True
        return False


class FailuresInARow:
    """Lets failures count only until there is progress: a run on machines that come and go would end by those of weeks
    together."""

    def __init__(self, steps_saved: Callable[[], int], failed: Callable[[str], None]) -> None:
        self._steps_saved, self._failed = steps_saved, failed
        self._steps_before = 0

    def __call__(self, error: Exception) -> Verdict:
        if is_startup_timeout(error):  # every minute, for as long as there is no room; the driver tells of it
            return Verdict.COUNT
        progress = False
        with suppress(OSError, MulanError):  # storage that fails must not keep the workers from starting again
            self._failed(in_words(error))
            steps = self._steps_saved()
            progress, self._steps_before = steps > self._steps_before, max(steps, self._steps_before)
        if final_cause(error) is not None:
            return Verdict.GIVE_UP
        return Verdict.RESET_COUNT if progress else Verdict.COUNT


def final_cause(error: Exception) -> TrainingFailed | None:
    """What a worker has found out that another attempt would meet again; None if none has."""
    return next((cause for cause in worker_errors(error).values() if isinstance(cause, TrainingFailed)), None)


def in_words(error: Exception) -> str:
    """What went wrong: in our own words where it was found out, otherwise in a line for each worker."""
    if final := final_cause(error):
        return str(final)
    told = [f"worker {rank}: {_first_line(cause)}" for rank, cause in worker_errors(error).items()]
    return "; ".join(told) or _first_line(controller_error(error))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    died = re.search(r"The actor is dead because [^.\n]*", text)  # stands after names and numbers
    return f"{type(error).__name__}: {died.group() if died else text}".splitlines()[0]
