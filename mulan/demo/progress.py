"""Live progress of the corpus being built; plain lines where the output is no terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

_PLAIN_PERIOD_S = 10.0


class CorpusProgress:
    """Called with (recordings done, recordings wanted); used as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._begun = self._shown = time.monotonic()
        self._last = ""

    def __enter__(self) -> "CorpusProgress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._console.print(self._last or "corpus  already there", soft_wrap=True)

    def __call__(self, done: int, wanted: int) -> None:
        now = time.monotonic()
        left = (now - self._begun) / done * (wanted - done)
        self._last = f"corpus  {done}/{wanted} recordings  {int(left // 60)}:{int(left % 60):02d} left"
        if self._live is not None:
            self._live.update(Text(self._last), refresh=True)
        elif now - self._shown >= _PLAIN_PERIOD_S and done < wanted:
            self._shown = now
            self._console.print(self._last, soft_wrap=True)
