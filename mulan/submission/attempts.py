"""What becomes of a job that has ended: whether the same command is submitted again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mulan.config.errors import STOPPED, USER_ERROR

TERMINATED = 143
"""Exit code of a job that the cluster was asked to stop, that of a process ended by SIGTERM."""
MAY_SUCCEED = 1
"""Exit code of mulan's commands if the same command may succeed: a machine or the storage failed."""
FINAL: Mapping[int, str] = MappingProxyType({
    USER_ERROR: f"exit code {USER_ERROR}: another attempt would fail in the same way.",
    STOPPED: f"exit code {STOPPED}: the run was asked to stop.",
})  # fmt: skip
"""Exit codes after which ``jobs.attempt`` has its own job stopped, which KubeRay would otherwise retry, and what it
says before."""


@dataclass(frozen=True)
class AttemptOutcome:
    """How an attempt ended."""

    code: int
    """Exit code of the job, from 0 to 255; 1 if the job has none because its node was lost."""
    reason: str = ""
    """What happened, if the job's own log does not say it."""

    @property
    def may_retry(self) -> bool:
        """Whether the same command may succeed.

        Codes other than 1 end the submission: after a 2 every attempt would fail, 3, 130 and 143 are interruptions that
        somebody wanted, and the cause of others, such as 137, must be found first.
        """
        return self.code == MAY_SUCCEED


def exit_code(returned: int) -> int:
    """Returns the exit code of a process as shells do: 128 plus the number of the signal that ended it.

    Args:
        returned: As :mod:`subprocess` gives it, negative for a signal.

    Example:
        >>> exit_code(2), exit_code(-9)
        (2, 137)
    """
    return returned if returned >= 0 else 128 - returned


def run_attempts(
    attempt: Callable[[int], AttemptOutcome], *, retries: int, pause: Callable[[], bool], say: Callable[[str], None]
) -> int:
    """Submits a job until it succeeds, until another attempt would not help, or until no retry is left.

    Args:
        attempt: Submits the job and waits for its end; is given the number of the attempt, from 0.
        retries: The maximum number of further attempts.
        pause: Waits before a further attempt; returns False if the user has interrupted the submission.
        say: Prints a line for the user.

    Returns:
        The exit code of the last attempt.
    """
    for number in range(retries + 1):
        outcome = attempt(number)
        why = outcome.reason or f"the job ended with exit code {outcome.code}"
        if not outcome.may_retry:
            if outcome.reason:
                say(why)
            break
        if number == retries:
            say(f"{why}; no retry is left (--retries {retries})")
        else:
            say(f"{why}; submitting the same command again, which resumes: retry {number + 1} of {retries}")
            if not pause():
                break
    return outcome.code
