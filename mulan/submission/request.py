"""What a user asks to be submitted."""

from collections.abc import Mapping
from dataclasses import dataclass

from mulan.submission.command import Command
from mulan.submission.package import Package


@dataclass(frozen=True)
class Submission:
    """A command with what it needs, and how often it is retried."""

    command: Command
    package: Package | None
    """The working folder of the command; None for that of the image."""
    variables: Mapping[str, str]
    """Environment variables of the job."""
    check_first: bool
    """Whether the command first runs with ``--dry-run``."""
    retries: int
    """Maximum number of further attempts."""
    pause_s: float
    """Time before a further attempt in seconds; KubeRay chooses its own."""
