"""The live progress of a job that makes a number of recordings."""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_PERIOD_S = 10.0
_MIN_MEASURED_S = 5.0
"""Time after the first recordings from which on the rate is shown."""
_MIN_MEASURED_AT_END_S = 0.5
"""The same when all are finished, which may be at once."""


class RecordingsProgress:
    """Shows the number of finished recordings live, or as a line every ten seconds if the output is not a terminal.

    A context manager that is called with the numbers of finished and of all recordings.
    """

    def __init__(self, label: str, console: Console) -> None:
        """
        Args:
            label: First word of the line.
            console: Where it is shown.
        """
        self._label, self._console = label, console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = time.monotonic()
        self._first: tuple[float, int] | None = None
        """When the first recordings were finished, which includes the start of processes, and their number."""
        self._last = ""

    def __enter__(self) -> "RecordingsProgress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._last or kind is None:
            self._console.print(self._last or f"{self._label}  already there", soft_wrap=True)

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._last = f"{self._label}  {done}/{total} recordings"
        if self._first is None and done:
            self._first = (now, done)
        begun, before = self._first or (now, 0)
        if done > before and now - begun >= (_MIN_MEASURED_S if done < total else _MIN_MEASURED_AT_END_S):
            rate = (done - before) / max(now - begun, 1e-9)
            left = (total - done) / rate
            self._last += f"  {rate:.1f}/s  {int(left // 60)}:{int(left % 60):02d} left"
        if self._live is not None:
            self._live.update(Text(self._last), refresh=True)
        elif now - self._shown >= PLAIN_PERIOD_S and done < total:
            self._shown = now
            self._console.print(self._last, soft_wrap=True)


class FoundProgress:
    """Prints a line every ten seconds while sources are read, when it is called with what has been found so far."""

    def __init__(self, label: str, console: Console) -> None:
        """
        Args:
            label: First word of the line.
            console: Where it is shown.
        """
        self._label, self._console, self._shown = label, console, time.monotonic()

    def __call__(self, found: int, source: str) -> None:
        now = time.monotonic()
        if now - self._shown >= PLAIN_PERIOD_S:
            self._shown = now
            self._console.print(f"{self._label}  {source}: {found} recordings so far", soft_wrap=True)
