"""Patience with storage: what passes by itself is tried again, after growing pauses, up to a limit."""

import errno
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mulan.config.errors import MulanError

PATIENCE_S = 300.0
"""Of one operation: storage that does not answer for longer ends the run, which resumes by the same command."""
LONGEST_PAUSE_S = 20.0

_LASTING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOSYS})
"""Errors of the operating system, or what S3's are translated to, that another attempt would meet again."""

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)


class StorageError(MulanError):
    """Storage that cannot be used, or did not answer for longer than our patience lasts."""

    exit_code = 1


def passes_by_itself(error: BaseException) -> bool:
    """Whether an operation that failed so may succeed when tried again.

    A server that is overloaded, restarts, or drops connections; not a file or bucket that is not there, permission that
    is refused, or a full disk.
    """
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError):
        return False
    if isinstance(error, OSError):
        return error.errno not in _LASTING
    # botocore's and aiohttp's own errors of connections, which are no OSError; they need not be installed
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"HTTPClientError", "ClientError", "ResponseParserError", "IncompleteRead", "FSTimeoutError"})


def patiently(function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Calls a function of storage until it succeeds.

    Raises:
        StorageError: it kept failing for :data:`PATIENCE_S`.
        Exception: whatever else it raised, at once.
    """
    retrying = Retrying(
        retry=retry_if_exception(passes_by_itself),
        wait=wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE_S),
        stop=stop_after_delay(PATIENCE_S),
        before_sleep=_tell,
        retry_error_callback=_give_up,
    )
    return retrying(function, *arguments, **named)


def _tell(state: RetryCallState) -> None:
    pause_s = state.next_action.sleep if state.next_action else 0.0
    log.warning("storage: %s; attempt %d, next in %.1f s", _error(state), state.attempt_number, pause_s)


def _give_up(state: RetryCallState) -> None:
    seconds = state.seconds_since_start or 0.0
    raise StorageError(
        f"storage failed {state.attempt_number} times in {seconds:.0f} s, the last time with {_error(state)}; "
        "the run goes on by the same command once it answers again"
    ) from (state.outcome.exception() if state.outcome else None)


def _error(state: RetryCallState) -> str:
    error = state.outcome.exception() if state.outcome else None
    return f"{type(error).__name__}: {error}"
