"""The faults of sources: those that make a whole source unusable, and those of single recordings, which are counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mulan.config.errors import MulanError
from mulan.config.paths import redacted
from mulan.data.errors import MAX_FAULTS, one_line

NAMED = 20
"""Number of recordings that are named for each kind of fault; the others are only counted."""


class SettingsError(MulanError, ValueError):
    """Raised for settings and requests that are not valid; lists all faults."""

    def __init__(self, faults: Sequence[str]) -> None:
        """
        Args:
            faults: Faults, each in one line with the setting that it is of.
        """
        self.faults = tuple(faults)
        several = [f"{len(faults)} faults:", *(f"  - {fault}" for fault in faults)]
        super().__init__(faults[0] if len(faults) == 1 else "\n".join(several))

    def __reduce__(self) -> tuple[type["SettingsError"], tuple[tuple[str, ...]]]:
        return type(self), (self.faults,)


class SourceError(MulanError, ValueError):
    """Raised when a source cannot be used. The message names each fault's file, line and remedy; at most 20 of them."""

    def __init__(self, source: str, faults: Sequence[str], count: int | None = None) -> None:
        """
        Args:
            source: The source, as ``KIND=PATH``.
            faults: Faults, each in one line: ``FILE, line N: what is wrong; what to do``.
            count: Total number of faults, by default the number of those that are passed.
        """
        self.source = source
        self.faults = tuple(one_line(fault, 1000) for fault in faults[:MAX_FAULTS])
        self.count = len(faults) if count is None else count
        if self.count == 1:
            message = f"source {one_line(source)}: {self.faults[0]}"
        else:
            lines = [f"source {one_line(source)} has {self.count} faults:", *(f"  - {fault}" for fault in self.faults)]
            if self.count > len(self.faults):
                lines.append(f"  and {self.count - len(self.faults)} more")
            message = "\n".join(lines)
        super().__init__(message)

    def __reduce__(self) -> tuple[type["SourceError"], tuple[str, tuple[str, ...], int]]:
        return type(self), (self.source, self.faults, self.count)


def at_line(file: str, line: int, fault: str) -> str:
    """Returns a fault with the file and the line, counted from 1, where it is."""
    return f"{file}, line {line}: {fault}"


@dataclass
class Faults:
    """The recordings of a source that are left out: all are counted by reason, the first ones of a reason are named."""

    found: int = 0
    """Number of recordings that can be used, which the caller counts."""
    counts: Counter[str] = field(default_factory=Counter)
    """Number of recordings that are left out, by reason."""
    named: dict[str, list[str]] = field(default_factory=dict)
    """The first recordings of each reason, with details, each in one line."""

    def missing(self, recording_id: str, audio: str) -> None:
        """Counts a recording whose audio is not there, which is normal for public data sets.

        Args:
            recording_id: Id of the recording.
            audio: Path or URI that was looked for.
        """
        self.add("missing audio", f"{recording_id}: there is no {audio}")

    def add(self, reason: str, detail: str) -> None:
        """Counts a recording that is left out.

        Args:
            reason: A short phrase, the same for all recordings with the same defect.
            detail: The recording, and what is wrong with it; for a row of a table, with :func:`at_line`.
        """
        self.counts[reason] += 1
        named = self.named.setdefault(reason, [])
        if len(named) < NAMED:
            named.append(one_line(redacted(detail)))

    @property
    def left_out(self) -> int:
        """Number of recordings that are left out."""
        return self.counts.total()
