"""What a run leaves in its folder while it is trained: metrics, events, quarantine and checkpoints."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import torch

from mulan.config.recipe import Recipe
from mulan.training.batch_source import Skipped
from mulan.training.checkpoint import Progress
from mulan.training.checkpoint_writer import CheckpointWriter
from mulan.training.headline import headline
from mulan.training.quarantine import Quarantine
from mulan.training.run import JsonLinesLog, Run


class Recorder(AbstractContextManager["Recorder"]):
    """Of one worker, for all of them. At its end everything is written."""

    def __init__(self, run: Run, recipe: Recipe, *, first_step: int) -> None:
        self._metrics = JsonLinesLog(run.metrics_uri, keep_steps=first_step)
        self._events = JsonLinesLog(run.events_uri)
        self._quarantine = Quarantine(run.quarantine_uri, keep_steps=first_step)
        self._score = headline(recipe)[0]
        self._checkpoints = CheckpointWriter(
            run.uri, newest_kept=recipe.train.checkpoints_kept, best_kept=recipe.train.best_checkpoints_kept
        )
        self._step = first_step

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._checkpoints.__exit__(kind, error, trace)
        finally:
            self.flush()

    def step(self, line: dict[str, Any]) -> None:
        self._step = line["step"]
        self._metrics.append([line])

    def skipped(self, step: int, recordings: list[Skipped]) -> None:
        self._quarantine.add(step, recordings)

    def event(self, text: str) -> None:
        """Something that whoever watches the run should know."""
        self._events.append([{"time": time.time(), "step": self._step, "event": text}])

    def checkpoint(self, state: dict[str, torch.Tensor], metrics: dict[str, Any], progress: Progress) -> None:
        self._checkpoints.write(state, progress, score=metrics.get(f"validation_{self._score}"))

    def fault(self) -> str | None:
        """Why the newest checkpoint could not be written."""
        return self._checkpoints.fault()

    def flush(self) -> None:
        self._metrics.flush()
        self._events.flush()
        self._quarantine.flush()
