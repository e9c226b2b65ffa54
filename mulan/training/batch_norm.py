"""Batch norm whose running statistics do not depend on how many workers share the global batch.

Each micro-batch is normalised by its own statistics. The running statistics move once a step, by the mean of the
statistics of all micro-batches of the global batch.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mulan.objectives.collectives import sum_over_workers


class RunningStatistics:
    """Takes over the running statistics of a module's batch-norm layers for the time of its training."""

    def __init__(self, module: nn.Module) -> None:
        self._layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        self._momentum = [layer.momentum for layer in self._layers]
        for layer in self._layers:
            layer.momentum = 1.0  # a forward in training mode leaves the statistics of its own micro-batch
        self._before: torch.Tensor | None = None
        self._sum: torch.Tensor | None = None

    def begin_step(self) -> None:
        if self._layers:
            self._before = self._flat()
            self._sum = torch.zeros_like(self._before)

    def add_micro_batch(self) -> None:
        """To be called once after the first forward of each micro-batch."""
        if self._sum is not None:
            self._sum += self._flat()

    def end_step(self, micro_batches: int) -> None:
        """Moves the running statistics; ``micro_batches`` is their number in the global batch."""
        if self._before is None or self._sum is None:
            return
        self._move(sum_over_workers(self._sum) / micro_batches)

    def undo_step(self) -> None:
        """Leaves the running statistics as they were before the step."""
        if self._before is not None:
            self._move(self._before)

    def _move(self, mean: torch.Tensor) -> None:
        assert self._before is not None
        place = 0
        for layer, momentum in zip(self._layers, self._momentum, strict=True):
            for buffer in (layer.running_mean, layer.running_var):
                assert buffer is not None and momentum is not None
                end = place + buffer.numel()
                buffer.copy_(torch.lerp(self._before[place:end], mean[place:end], momentum))
                place = end
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.zero_()  # unused with a fixed momentum; it would count the repeated forwards
        self._before = self._sum = None

    def _flat(self) -> torch.Tensor:
        return torch.cat(
            [b for layer in self._layers for b in (layer.running_mean, layer.running_var) if b is not None]
        )
