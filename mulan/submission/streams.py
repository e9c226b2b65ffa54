"""Texts from blocking sources, read with a time limit: logs that a server sends, and calls that may never return."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

from mulan.submission.errors import ClusterUnreachable

_Result = TypeVar("_Result")


class _Closed(Exception):
    """Ends a function whose texts nobody reads any more."""


class TextStream:
    """The texts of a function that runs in its own thread."""

    def __init__(self, produce: Callable[[Callable[[str], None]], None]) -> None:
        """
        Args:
            produce: Calls its argument with each text, and returns after the last one.
        """
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._produce = produce
        self.ended = self._is_closed = False
        """Whether all texts have been read."""
        self.error: Exception | None = None
        """What ended the function, if it did not return."""
        # a daemon: a server that never answers must not keep this process from exiting
        threading.Thread(target=self._run, daemon=True).start()

    def read(self, timeout_s: float) -> str:
        """Returns the next text; empty if there is none within the time, or no further one."""
        if self.ended:
            return ""
        try:
            text = self._texts.get(timeout=timeout_s)
        except queue.Empty:
            return ""
        self.ended = text is None
        return text or ""

    def close(self) -> None:
        """Has the function end at its next text; none is read any more."""
        self.ended = self._is_closed = True

    def _put(self, text: str) -> None:
        if self._is_closed:
            raise _Closed
        self._texts.put(text)

    def _run(self) -> None:
        try:
            self._produce(self._put)
        except Exception as error:
            self.error = error
        self._texts.put(None)


def within(seconds: float, call: Callable[[], _Result], *, what: str) -> _Result:
    """Returns the result of a call.

    Ray's client for jobs sets no timeouts: a connection whose other end is gone would be waited for without end.

    Args:
        seconds: The time limit.
        call: The call.
        what: The subject of the message, such as an address.

    Raises:
        ClusterUnreachable: The call did not return in time.
        Exception: What the call raised.
    """
    results: list[_Result] = []
    stream = TextStream(lambda put: results.append(call()))
    stream.read(seconds)
    if not stream.ended:
        raise ClusterUnreachable(f"{what} did not answer within {seconds:g} s")
    if stream.error is not None:
        raise stream.error
    return results[0]
