"""Waiting for a state that other threads or processes cause."""

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], object], *, what: str | Callable[[], str], limit_s: float = 60.0, period_s: float = 0.02
) -> None:
    """Polls a condition until it is true.

    Args:
        condition: Function that returns a true value once the state is reached.
        what: Name of the state for the error message, or a function that returns it when the time is over.
        limit_s: The time limit.
        period_s: The time between two polls.

    Raises:
        TimeoutError: The condition did not become true within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what if isinstance(what, str) else what()}: not within {limit_s:g} s")
        time.sleep(period_s)
