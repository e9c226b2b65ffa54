"""Retries of storage operations: transient errors are retried with exponential backoff, up to a timeout.

Permanent errors are raised at once, with a remedy (:mod:`mulan.storage.errors`).
"""

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from mulan.storage.errors import StorageError, is_transient, permanent_error

RETRY_TIMEOUT_S = 300.0
"""Time in seconds, from the first failure of an operation, after which a run ends; the same command resumes it."""
MAX_PAUSE_S = 20.0
"""Maximum time in seconds between two attempts."""

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


def with_retries(what: str, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Calls a function that uses storage until it succeeds.

    Args:
        what: Consequence of a failure, for messages, such as ``"URI cannot be read"``.
        function: Function to call with the remaining arguments.

    Raises:
        StorageError: The function kept failing for :data:`RETRY_TIMEOUT_S`.
        StoragePermanentError: The function failed permanently.
        FileNotFoundError, NotADirectoryError, IsADirectoryError: The function raised it.
    """
    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        wait=wait_random_exponential(multiplier=0.5, max=MAX_PAUSE_S),
        stop=_StopAfterFailingFor(RETRY_TIMEOUT_S, what),
        before_sleep=_log_retry,
        reraise=True,
    )
    try:
        return retrying(function, *arguments, **named)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except Exception as error:
        permanent = permanent_error(what, error)
        if permanent is None:
            raise
        raise permanent from error


class _StopAfterFailingFor:
    """Raises StorageError a given time after the first failure, rather than after the start of a long upload."""

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
            f"{type(error).__name__}: {error}; run the same command again to resume once the storage responds"
        ) from error


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause_s = state.next_action.sleep if state.next_action else 0.0
    log.warning(
        "storage: %s: %s; attempt %d, next in %.1f s", type(error).__name__, error, state.attempt_number, pause_s
    )
