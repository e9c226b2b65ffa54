"""What can be wrong with data: a corpus that cannot be used, and a single recording that is skipped."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mulan.config.errors import MulanError

MAX_FAULTS = 20
"""Named in a message; of more, the number is told."""

_MAX_DETAIL = 500
_MAX_FAULT = 1000
"""In characters: names in tars and decoders' messages may have any length."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

OnError = Literal["raise", "skip"]
"""What becomes of work on many when some of them cannot be used: it is refused, or done for the rest."""


def one_line(text: str, longest: int = _MAX_DETAIL) -> str:
    """A text as one line of valid Unicode that can be written anywhere, of the first ``longest`` characters."""
    line = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", " ".join(text[:longest].split()))
    return line.encode(errors="backslashreplace").decode()


class CorpusError(MulanError, ValueError):
    """A corpus (index, shards or their location) that cannot be used.

    Lists every fault found, one a line: the first :data:`MAX_FAULTS` (``faults``), and how many there are in all
    (``count``; by default as many as are given).
    """

    def __init__(self, uri: str, faults: Sequence[str], count: int | None = None) -> None:
        self.uri = uri
        self.faults = tuple(one_line(fault, _MAX_FAULT) for fault in faults[:MAX_FAULTS])
        self.count = len(faults) if count is None else count
        named = f"corpus {one_line(uri)}"
        if self.count == 1:
            message = f"{named}: {self.faults[0]}"
        else:
            message = "\n".join([f"{named} has {self.count} faults:", *(f"  - {fault}" for fault in self.faults)])
        if self.count > len(self.faults):
            message += f"\n  and {self.count - len(self.faults)} more"
        super().__init__(message)

    def __reduce__(self) -> tuple[type["CorpusError"], tuple[str, tuple[str, ...], int]]:
        return type(self), (self.uri, self.faults, self.count)


class BadRecording(MulanError, ValueError):
    """One recording that cannot be used. The reason is a short phrase that is counted; the detail says more.

    The detail is one line of valid Unicode, whatever names and texts it was made of: it can be written anywhere.

    Training replaces such a recording and goes on (see :mod:`mulan.data.reader`).
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail = one_line(detail)
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[type["BadRecording"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class DecodeError(BadRecording):
    """Audio that no decoder reads, that is cut off, or that holds no usable samples or too few."""


@dataclass(frozen=True)
class SkippedRecording:
    """A recording that could not be used, or a whole shard of them, and why. As a string it is one line."""

    name: str
    """The recording's id, or the URI or path of its file or shard; what is not Unicode is escaped by backslashes."""
    reason: str
    """A short phrase, the same for all recordings with the same defect."""
    detail: str
    """One line with the details."""

    def __str__(self) -> str:
        return one_line(f"{self.name}: {self.reason}: {self.detail}", _MAX_FAULT)


class Rejected:
    """Collects the recordings and shards of a corpus that cannot be used.

    Where they are skipped all of them are kept (``skipped``), otherwise no more than a message names.
    """

    def __init__(self, uri: str, on_error: OnError) -> None:
        """
        Raises:
            CorpusError: ``on_error`` is neither.
        """
        if on_error not in ("raise", "skip"):
            raise CorpusError(uri, [f"on_error is {on_error!r}, which is neither 'raise' nor 'skip'"])
        self._uri, self._on_error = uri, on_error
        self._faults: list[str] = []
        self._count = 0
        self.skipped: list[SkippedRecording] = []

    @property
    def refuses(self) -> bool:
        """Whether nothing will be written."""
        return self._on_error == "raise" and self._count > 0

    def add(self, name: str, error: BadRecording, *, shard: str = "") -> None:
        """
        Args:
            shard: URI of the tar that holds what is named.
        """
        self._count += 1
        if len(self._faults) < MAX_FAULTS:
            short = name if len(name) <= 200 else f"{name[:200]}..."
            self._faults.append(": ".join(part for part in (shard, short, str(error)) if part))
        if self._on_error == "skip":
            written = name.encode(errors="backslashreplace").decode()
            self.skipped.append(
                SkippedRecording(written, error.reason, (f"in {one_line(shard)}: " if shard else "") + error.detail)
            )

    def settle(self, left: int) -> None:
        """
        Args:
            left: recordings that can be used.

        Raises:
            CorpusError: there are none, or something was wrong and is not to be skipped.
        """
        if self.refuses or (self._count and not left):
            raise CorpusError(self._uri, self._faults, self._count)
        if not left:
            raise CorpusError(self._uri, ["there are no recordings to be written"])


class ReadingFailed(MulanError):
    """What a process that reads has met, in its words: another one would meet it again."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        """``exit_code``: of what it has met."""
        super().__init__(message)
        self.exit_code = exit_code


class TooManySkippedRecordings(MulanError):
    """More recordings had to be skipped than ``data.max_skipped_share`` allows."""
