"""Interruptions by the user: the first asks for a clean stop, the second ends the command at once."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_POLL_S = 0.2


class Abandoned(KeyboardInterrupt):
    """Raised by the second interruption."""


class Interrupts:
    """Counts SIGINT and SIGTERM while :func:`interrupts` is active."""

    def __init__(self) -> None:
        self.code = 0
        """Exit code of the first interruption: 130 for SIGINT, 143 for SIGTERM; 0 without one."""

    @property
    def stop_requested(self) -> bool:
        """Whether the command has been interrupted."""
        return self.code != 0

    def wait(self, seconds: float) -> bool:
        """Waits for a time, or until an interruption; returns whether the whole time has passed."""
        # a handler must not set an event that this thread may be waiting for, whose lock it may hold
        deadline = time.monotonic() + seconds
        while not self.stop_requested and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _POLL_S))
        return not self.stop_requested

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Handles a signal.

        Raises:
            Abandoned: It is not the first one.
        """
        if self.stop_requested:
            raise Abandoned
        self.code = 128 + number


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handles SIGINT and SIGTERM in the context, and restores the handlers after it."""
    received = Interrupts()
    before = {number: signal.signal(number, received.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
