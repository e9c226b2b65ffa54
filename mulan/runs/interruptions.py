"""What failures have cost a run: how often its workers were restarted, and the time that was lost."""

from collections.abc import Sequence
from dataclasses import dataclass

from mulan.runs.run import Run
from mulan.storage.jsonl import part_uris, read_lines

LOST, STARTED = "lost_s", "from_step"
"""Fields of events: the time that was lost before an attempt's first step, and the step from which it continues."""


@dataclass(frozen=True)
class Interruptions:
    """The failures of a run before an attempt, as its folder records them. All times are Unix times in seconds."""

    failures: Sequence[float]
    """The times of the failures."""
    lost: Sequence[tuple[float, float]] = ()
    """What has been reported as lost so far: the time of the report, and seconds."""
    progress_until: float | None = None
    """The end of the step from which the attempt continues or, if it begins at step 0, the start of the driver's first
    attempt; None if it is unknown."""
    driver_began: float = 0.0
    """The start of the driver of the attempt."""

    @classmethod
    def of(cls, run: Run, first_step: int, *, driver_began: float) -> "Interruptions":
        """Reads the interruptions of a run, at the beginning of an attempt.

        Args:
            first_step: The step from which the attempt continues.
            driver_began: The start of the driver of the attempt.

        Raises:
            DamagedFile: A line of the run's records is damaged.
        """
        failures = [float(line.get("time", 0)) for line in read_lines(run.failures_uri)]
        if not failures:  # the first attempt, or one that no failure preceded
            return cls(failures)
        events = read_lines(run.events_uri)
        lost = [(float(line.get("time", 0)), float(line[LOST])) for line in events if LOST in line]
        if first_step:
            return cls(failures, lost, _end_of_step(run, first_step), driver_began)
        starts = (float(line.get("time", 0)) for line in events if line.get(STARTED) == 0)
        return cls(failures, lost, next((start for start in starts if start >= driver_began), None), driver_began)

    @property
    def restarts(self) -> int:
        """The number of attempts so far that began after a failure, this one included."""
        return len(self.failures)

    @property
    def lost_s(self) -> float:
        """The time that has been reported as lost so far, in seconds."""
        return sum(seconds for _, seconds in self.lost)

    def newly_lost_s(self, first_step_began: float) -> float:
        """Returns the time in seconds that the failures since the last progress have cost and that was not reported.

        That is the time from the end of the step from which the attempt continues to the beginning of its first step,
        and so includes the steps that are repeated. It is 0 if no failure was recorded meanwhile: a run that was
        interrupted, or moved to more workers, has lost nothing. The time in which the run had no driver, from its last
        failure until someone started the next one, is not lost either.

        Args:
            first_step_began: The beginning of the first step of the attempt.
        """
        if self.progress_until is None:
            return 0.0
        between = [when for when in self.failures if self.progress_until < when <= first_step_began]
        if not between:
            return 0.0
        seconds = first_step_began - self.progress_until
        before_driver = [when for when in between if when < self.driver_began]
        if before_driver:
            seconds -= self.driver_began - max(before_driver)
        seconds -= sum(reported for when, reported in self.lost if when > self.progress_until)
        return max(0.0, seconds)


def _end_of_step(run: Run, step: int) -> float | None:
    """Returns the time of a step in ``metrics.jsonl``, of whose parts only the newest are read, since restarts wait."""
    for part in reversed(part_uris(run.metrics_uri)):
        lines = read_lines(part, require_step=True)
        ends = [line.get("time") for line in lines if line["step"] == step]
        if ends or (lines and lines[0]["step"] < step):
            return ends[-1] if ends else None
    return None
