"""The reports of hanging steps as the driver sees them, which runs on even if the first worker does not."""

import time

from mulan.storage import filesystem
from mulan.storage.errors import StorageError

PATIENCE_S = 30.0
"""How long the driver waits for the first worker, which reports for all workers itself, in seconds."""


def hangs_uri(run_uri: str) -> str:
    """Returns the folder of a run's reports: one folder for each attempt, in it one for each step that hung."""
    return filesystem.join(run_uri, "hangs")


class HangReports:
    """Finds the steps that hang because of the first worker, so that it cannot record them in the run's events."""

    def __init__(self, run_uri: str, *, patience_s: float = PATIENCE_S) -> None:
        self._uri, self._patience_s = hangs_uri(run_uri), patience_s
        self._earlier = max(filesystem.names_in(self._uri), default="")
        self._seen_s: dict[str, float] = {}

    def new_lines(self) -> list[str]:
        """Returns a line for each step of the newest attempt that others report, but not the first worker."""
        try:
            attempt = max(filesystem.names_in(self._uri), default="")
            if attempt <= self._earlier:
                return []
            attempt_uri = filesystem.join(self._uri, attempt)
            return [
                line
                for step in filesystem.names_in(attempt_uri)
                if (line := self._line(filesystem.join(attempt_uri, step))) is not None
            ]
        except (OSError, StorageError):  # the caller polls
            return []

    def _line(self, uri: str) -> str | None:
        seen_s = self._seen_s.setdefault(uri, time.monotonic())
        if time.monotonic() - seen_s < self._patience_s:
            return None
        self._seen_s[uri] = float("inf")  # is looked at once
        names = filesystem.names_in(uri)
        if "rank_0.txt" in names:
            return None
        ranks = sorted(int(name[5:-4]) for name in names if name.startswith("rank_") and name[5:-4].isdecimal())
        named = ", ".join(map(str, ranks[:20])) + (", …" if len(ranks) > 20 else "")
        return (
            "a step hangs, and rank 0 reports nothing: it is stopped, lost, or in code that holds Python's lock; "
            f"stacks of rank {named}: {filesystem.printable(uri)}"
        )
