"""Errors in data: a corpus that cannot be used, and recordings that are skipped."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mulan.config.errors import MulanError
from mulan.config.paths import redacted

MAX_FAULTS = 20
"""Maximum number of faults that a message lists, followed by the number of the others."""

_MAX_DETAIL = 500
_MAX_FAULT = 1000
"""Maximum length in characters, as names in tars and messages of decoders may have any length."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, also those that change the direction of the text that follows them."""

OnError = Literal["raise", "skip"]
"""Policy for items that cannot be used: raise an error, or skip them and process the others."""


def one_line(text: str, max_length: int = _MAX_DETAIL) -> str:
    """Returns the first ``max_length`` characters as one line of valid Unicode without control characters."""
    line = _CONTROL.sub(lambda match: ascii(match[0])[1:-1], " ".join(text[:max_length].split()))
    return line.encode(errors="backslashreplace").decode()


class CorpusError(MulanError, ValueError):
    """Raised when a corpus (index, shards or their location) cannot be used.

    Lists the first :data:`MAX_FAULTS` faults, one per line (``faults``), and their total number (``count``, by default
    the number of faults that are passed).
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
    """Raised for a recording that cannot be used, with a reason, which is counted, and a detail.

    The reason is a short phrase. The detail is one line of valid Unicode, whatever names and texts it contains.
    Training skips such recordings (see :mod:`mulan.data.reader`).
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail = one_line(redacted(detail))
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[type["BadRecording"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class DecodeError(BadRecording):
    """Raised for audio that is undecodable or truncated, or has too few or no usable samples."""


@dataclass(frozen=True)
class SkippedRecording:
    """A recording or a whole shard that could not be used, with the reason. Its string is one line."""

    name: str
    """The recording's id, or the URI or path of its file or shard; lone surrogates are escaped by backslashes."""
    reason: str
    """A short phrase, the same for all recordings with the same defect."""
    detail: str
    """Details in one line."""

    def __str__(self) -> str:
        return one_line(f"{self.name}: {self.reason}: {self.detail}", _MAX_FAULT)


class Rejected:
    """Collects the recordings and shards of a corpus that cannot be used.

    With ``"skip"`` all of them are collected (``skipped``), otherwise only as many as a message lists.
    """

    def __init__(self, uri: str, on_error: OnError) -> None:
        """
        Args:
            uri: URI of the corpus, for messages.

        Raises:
            CorpusError: ``on_error`` is invalid.
        """
        if on_error not in ("raise", "skip"):
            raise CorpusError(uri, [f"on_error is {on_error!r}, which is neither 'raise' nor 'skip'"])
        self._uri, self._on_error = uri, on_error
        self._faults: list[str] = []
        self._count = 0
        self.skipped: list[SkippedRecording] = []

    @property
    def failed(self) -> bool:
        """Whether :meth:`finish` will raise because of a rejected recording."""
        return self._on_error == "raise" and self._count > 0

    def add(self, name: str, error: BadRecording, *, shard: str = "") -> None:
        """Adds a recording or shard that cannot be used.

        Args:
            name: Id of the recording, or URI of the shard.
            error: Reason why it cannot be used.
            shard: URI of the tar that contains the recording; empty for a shard.
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

    def finish(self, usable: int) -> None:
        """Raises an error if the corpus must not be written.

        Args:
            usable: Number of recordings that can be used.

        Raises:
            CorpusError: No recording can be used, or one cannot and ``on_error`` is ``"raise"``.
        """
        if self.failed or (self._count and not usable):
            raise CorpusError(self._uri, self._faults, self._count)
        if not usable:
            raise CorpusError(self._uri, ["there are no recordings to write"])


class ReadingFailed(MulanError):
    """Raised for an error of a reader process that would recur in any other process."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        """
        Args:
            message: Message of the original error.
            exit_code: Exit code of the original error.
        """
        super().__init__(message)
        self.exit_code = exit_code


class TooManySkippedRecordings(MulanError):
    """Raised when more recordings had to be skipped than ``data.max_skipped_share`` allows."""
