"""Batch norm whose running statistics do not depend on how many workers share the global batch.

Each micro-batch is normalised by its own statistics. The running statistics move once a step, by the mean of the
statistics of all micro-batches of the global batch.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mulan.distributed.collectives import all_gather


class RunningStatistics:
    """Takes over the running statistics of a module's batch-norm layers for the time of its training."""

    def __init__(self, module: nn.Module) -> None:
        self._layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        self._momentum = [layer.momentum for layer in self._layers]
        for layer in self._layers:
            layer.momentum = 1.0  # a forward in training mode leaves the statistics of its own micro-batch
        self._before: torch.Tensor | None = None
        self._found: list[torch.Tensor] = []
        """The statistics of this worker's micro-batches, one after another."""

    def begin_step(self) -> None:
        if self._layers:
            self._before = self._flat()
            self._found = []

    def add_micro_batch(self) -> None:
        """To be called once after the first forward of each micro-batch."""
        if self._before is not None:
            self._found.append(self._flat())

    def end_step(self) -> None:
        """Moves the running statistics. Collective."""
        if self._before is not None:
            # all of the global batch in order, so that the mean has the same bits on any number of workers
            self._move(all_gather(torch.stack(self._found)).mean(dim=0))

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
        self._before, self._found = None, []

    def _flat(self) -> torch.Tensor:
        return torch.cat(
            [b for layer in self._layers for b in (layer.running_mean, layer.running_var) if b is not None]
        )
