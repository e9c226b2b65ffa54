"""Errors of submissions."""

from collections.abc import Sequence

from mulan.config.errors import MulanError
from mulan.storage.filesystem import printable

_NAMED = 20


class SubmissionError(MulanError, ValueError):
    """Raised when a job cannot be submitted as requested; lists the first 20 faults, and counts the others."""

    def __init__(self, faults: Sequence[str]) -> None:
        """
        Args:
            faults: What is wrong and what to do, each in one line.
        """
        self.faults = tuple(map(printable, faults))
        listed = [f"  - {fault}" for fault in self.faults[:_NAMED]]
        if len(faults) > _NAMED:
            listed.append(f"  and {len(faults) - _NAMED} more")
        super().__init__(self.faults[0] if len(faults) == 1 else "\n".join([f"{len(faults)} faults:", *listed]))


class AlreadyExists(SubmissionError):
    """Raised when an object of the requested name exists."""


class ClusterUnreachable(MulanError):
    """Raised when a cluster does not answer, or answers that it failed; another attempt may succeed."""

    exit_code = 1


class NoSuchJob(MulanError):
    """Raised when a job server does not know a job: its head was replaced, or the job was deleted."""
