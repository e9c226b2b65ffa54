"""What the training loop tells, and what it asks, whoever started it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mulan.data.batch import SkippedRecording
from mulan.training.health import Anomaly
from mulan.training.state import Progress


@dataclass(frozen=True)
class TrainingObserver:
    """What the loop tells and asks, on every worker alike; only one of them need listen."""

    step: Callable[[dict[str, Any]], None]
    """A line of ``metrics.jsonl``, after every step; with the scores of a validation where one follows."""
    skipped: Callable[[int, list[SkippedRecording]], None]
    """The step, and the recordings replaced in it."""
    milestone: Callable[[dict[str, Any], Progress, bool], None]
    """After a validation, when a checkpoint is due (the flag), or both: newest metrics and progress. Collective."""
    fault: Callable[[], str | None] = lambda: None
    """Why this worker cannot go on. Asked after every step."""
    found: Callable[[Anomaly], str] = lambda finding: ""
    """Numbers that went wrong; how to look into it, in words, the same on all workers."""
    leaving: Callable[[], frozenset[str]] = frozenset
    """Machines that are about to be taken away. Collective; asked every few seconds."""
