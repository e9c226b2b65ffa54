"""Batch norm whose running statistics do not depend on the number of workers.

Each micro-batch is normalised by its own statistics. The running statistics are updated once per step, with the mean of
the statistics of all micro-batches of the global batch.
"""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mulan.distributed.collectives import all_gather


class RunningStatistics:
    """Updates the running statistics of a module's batch-norm layers during training."""

    def __init__(self, module: nn.Module) -> None:
        self._layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
        self._momentum = [layer.momentum for layer in self._layers]
        for layer in self._layers:
            layer.momentum = 1.0  # a forward pass in training mode then stores the statistics of its own micro-batch
        self._before: torch.Tensor | None = None
        self._micro_batches: list[torch.Tensor] = []
        """Statistics of this worker's micro-batches, in order."""

    def begin_step(self) -> None:
        """Saves the running statistics. Call it before the first forward pass of a step."""
        if self._layers:
            self._before = self._flat()
            self._micro_batches = []

    def add_micro_batch(self) -> None:
        """Records the statistics of a micro-batch. Call it after the first forward pass of each micro-batch."""
        if self._before is not None:
            self._micro_batches.append(self._flat())

    def end_step(self) -> None:
        """Updates the running statistics. Collective."""
        if self._before is not None:
            # in the order of the global batch, so that the mean has the same bits on any number of workers
            self._update(all_gather(torch.stack(self._micro_batches)).mean(dim=0))

    def undo_step(self) -> None:
        """Restores the running statistics from before the step."""
        if self._before is not None:
            self._update(self._before)

    def _update(self, mean: torch.Tensor) -> None:
        assert self._before is not None
        start = 0
        for layer, momentum in zip(self._layers, self._momentum, strict=True):
            for buffer in (layer.running_mean, layer.running_var):
                assert buffer is not None and momentum is not None
                end = start + buffer.numel()
                buffer.copy_(torch.lerp(self._before[start:end], mean[start:end], momentum))
                start = end
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked.zero_()  # unused with a fixed momentum; would count repeated forwards
        self._before, self._micro_batches = None, []

    def _flat(self) -> torch.Tensor:
        return torch.cat(
            [b for layer in self._layers for b in (layer.running_mean, layer.running_var) if b is not None]
        )
