"""What the training observers tell about a run, as readings of its gauges."""

from collections.abc import Mapping
from typing import Any

import torch

from mulan.config.recipe import Recipe
from mulan.telemetry.gauges import Reading, step_readings
from mulan.telemetry.publisher import Publisher


class RunTelemetry:
    """Publishes the state of a run; no method waits for anything. Every worker has one.

    All workers call :meth:`device_memory` after each step; the first one calls the others, too.
    """

    def __init__(self, publisher: Publisher, *, rank: int, device: torch.device) -> None:
        self._publisher, self._rank, self._device = publisher, rank, device

    def device_memory(self) -> None:
        """Publishes the peak of the memory that PyTorch has allocated on a GPU since the last call."""
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._publisher.update([Reading("mulan_gpu_memory_bytes", peak, str(self._rank))])

    def attempt(self, recipe: Recipe, workers: int, restarts: int, *, checkpoint_step: int) -> None:
        """Publishes the numbers that an attempt begins with.

        Args:
            restarts: The number of attempts so far that began after a failure, this one included.
            checkpoint_step: The step of the checkpoint from which it continues; 0 if there is none.
        """
        counts = {
            "mulan_steps_planned": recipe.train.steps,
            "mulan_workers": workers,
            "mulan_restarts": restarts,
            "mulan_checkpoint_step": checkpoint_step,
        }
        self._publisher.update(Reading(gauge, count) for gauge, count in counts.items())

    def step(self, line: Mapping[str, Any], *, pairs: int) -> None:
        """Publishes a line of ``metrics.jsonl``; ``pairs`` is the size of the global batch."""
        self._publisher.update(step_readings(line, pairs=pairs))

    def lost(self, seconds: float) -> None:
        """Publishes the time that the run has lost to failures so far."""
        self._publisher.update([Reading("mulan_lost_seconds", seconds)])

    def checkpoint(self, step: int, seconds: float) -> None:
        """Publishes the newest complete checkpoint and the time from its request on."""
        self._publisher.update([Reading("mulan_checkpoint_step", step), Reading("mulan_checkpoint_seconds", seconds)])
