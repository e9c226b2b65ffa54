"""The interface between the training loop and its caller: a launcher, a replay, a benchmark or a test."""

from collections.abc import Sequence
from typing import Any, Protocol

from mulan.config.errors import MulanError
from mulan.data.errors import SkippedRecording
from mulan.training.health import Anomaly
from mulan.training.state import Progress


class TrainingObserver(Protocol):
    """Receives the results of the training loop, and reports errors, preemptions and stops to it. Every worker has one.

    All workers call the same methods in the same order, so a method may be collective. Arguments are the same on all
    of them, except for the duration of a step.
    """

    def on_step(self, metrics: dict[str, Any]) -> None:
        """Receives a line of ``metrics.jsonl`` after each step, with the scores of a validation as ``validation``."""

    def on_skipped_recordings(self, step: int, recordings: Sequence[SkippedRecording]) -> None:
        """Receives the recordings skipped in a step and its validation; the sequence may be empty."""

    def on_anomaly(self, anomaly: Anomaly) -> str:
        """Receives an anomaly.

        Returns:
            A hint for the error message that ends the run, the same on all workers; it may be empty.
        """

    def on_validation(self, metrics: dict[str, Any]) -> None:
        """Receives the metrics of a validated step, with scores as ``validation_NAME``, if no checkpoint is due."""

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        """Saves a checkpoint; receives the same metrics as :meth:`on_validation`."""

    def fatal_error(self) -> MulanError | None:
        """Returns the error because of which this worker cannot continue, or None; all workers raise the first one."""

    def stop_requested(self) -> bool:
        """Returns whether this worker knows of a request to stop; if one does, all save a checkpoint and end."""

    def preempted_nodes(self) -> frozenset[str]:
        """Returns the ids of the nodes that are about to be preempted; called every few seconds."""


class NullObserver(TrainingObserver):
    """An observer that ignores all results and reports neither errors, preemptions nor stops."""

    def on_step(self, metrics: dict[str, Any]) -> None:
        pass

    def on_skipped_recordings(self, step: int, recordings: Sequence[SkippedRecording]) -> None:
        pass

    def on_anomaly(self, anomaly: Anomaly) -> str:
        return ""

    def on_validation(self, metrics: dict[str, Any]) -> None:
        pass

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        pass

    def fatal_error(self) -> MulanError | None:
        return None

    def stop_requested(self) -> bool:
        return False

    def preempted_nodes(self) -> frozenset[str]:
        return frozenset()
