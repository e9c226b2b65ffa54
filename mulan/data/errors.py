"""What can be wrong with data: a corpus that cannot be used, and a single recording that is skipped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mulan.config.errors import MulanError

MOST_FAULTS = 20
"""Named in a message; of more, the number is told."""

OnError = Literal["raise", "skip"]
"""What becomes of work on many when some of them cannot be used: it is refused, or done for the rest."""


class CorpusError(MulanError, ValueError):
    """A corpus (index, shards or their location) that cannot be used. Lists every fault found."""

    def __init__(self, uri: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"corpus {uri}: " + "; ".join(faults))


_LONGEST_DETAIL = 500
"""In characters: names in tars and decoders' messages may have any length."""


class BadRecording(MulanError, ValueError):
    """One recording that cannot be used. The reason is a short phrase that is counted; the detail says more.

    The detail is one line of valid Unicode, whatever names and texts it was made of: it can be written anywhere.

    Training replaces such a recording and goes on (see :mod:`mulan.data.examples`).
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        one_line = " ".join(detail[:_LONGEST_DETAIL].split())
        self.detail = detail = one_line.encode(errors="backslashreplace").decode()
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self) -> tuple[type["BadRecording"], tuple[str, str]]:
        return type(self), (self.reason, self.detail)


class DecodeError(BadRecording):
    """Audio that no decoder reads, that is cut off, or that holds no usable samples or too few."""


@dataclass(frozen=True)
class Skipped:
    """What was left out, because it cannot be used, while the rest was done."""

    name: str
    """Of the recording, shard or file: its id, URI or path; what is not Unicode in it is escaped by backslashes."""
    reason: str
    """A short phrase, the same for all that are wrong in one way."""
    detail: str
    """One line that says more."""


class ReadingFailed(MulanError):
    """What a process that reads has met, in its words: another one would meet it again."""

    exit_code = 1


class TooManyBadRecordings(MulanError):
    """More recordings had to be replaced than ``data.max_bad_share`` allows."""
