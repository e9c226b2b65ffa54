"""Waiting for a state that other threads and processes bring about."""

import time
from collections.abc import Callable


def wait_until(
    true: Callable[[], object], *, what: str | Callable[[], str], limit_s: float = 60.0, period_s: float = 0.02
) -> None:
    """Polls until it is true.

    Args:
        what: is waited for; a function's words are those of the end, and say what was seen instead.

    Raises:
        TimeoutError: it did not become true within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what if isinstance(what, str) else what()}: not within {limit_s:g} s")
        time.sleep(period_s)
