"""Patience with storage: what passes by itself is tried again, after growing pauses, up to a limit.

All else ends the attempt at once, in an error that says what to do (:mod:`mulan.storage.errors`).
"""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from mulan.storage.errors import StorageError, is_transient, permanent_error

PATIENCE_S = 300.0
"""Of one operation, from its first failure on: storage that fails for longer ends the run, which resumes by the same
command."""
MAX_PAUSE_S = 20.0

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


def with_retries(what: str, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Calls a function of storage until it succeeds.

    Args:
        what: for messages, what it means when the function fails: ``"URI cannot be read"``.

    Raises:
        StorageError: it kept failing for :data:`PATIENCE_S`.
        StoragePermanentError: it met, at once, what another attempt would meet again.
        FileNotFoundError, NotADirectoryError, IsADirectoryError: as the function does.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_random_exponential(multiplier=0.5, max=MAX_PAUSE_S),
        stop=_Patience(PATIENCE_S, what),
        before_sleep=_tell,
        reraise=True,
    )
    try:
        return retrying(function, *arguments, **named)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except Exception as error:
        refused = permanent_error(what, error)
        if refused is None:
            raise
        raise refused from error


class _Patience:
    """Ends after so many seconds since the first failure: an upload may have taken longer until then."""

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds, self._what, self._first_s = seconds, what, 0.0

    def __call__(self, state: RetryCallState) -> bool:
        now_s = state.outcome_timestamp or 0.0
        if state.attempt_number == 1:
            self._first_s = now_s
        failing_s = now_s - self._first_s
        if failing_s < self._seconds:
            return False
        error = state.outcome.exception() if state.outcome else None
        raise StorageError(
            f"{self._what}: {state.attempt_number} attempts in {failing_s:.0f} s failed, the last with "
            f"{type(error).__name__}: {error}; once the storage answers again, the same command goes on"
        ) from error


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    log.warning(
        "storage: %s: %s; attempt %d, next in %.1f s", type(error).__name__, error, state.attempt_number, pause_s
    )
