"""The interface between training and an engine: a model and its optimizer, on one of the workers."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from mulan.data.batch import Batch
from mulan.model.device_batch import DeviceBatch


class Engine(Protocol):
    """A model under Adam. All workers call the same methods in the same order."""

    micro_batches: int
    """The number of micro-batches in the global batch."""
    micro_batches_per_worker: int
    """The number of micro-batches of the global batch that this worker computes."""

    @property
    def module(self) -> torch.nn.Module:
        """The model itself."""

    def to_device(self, batch: Batch) -> DeviceBatch:
        """Copies a micro-batch to the engine's device, without waiting for the copy."""

    def forward(self, batch: DeviceBatch) -> Any:
        """Returns the model's outputs for a micro-batch, such as :class:`mulan.model.outputs.Embeddings`."""

    def backward(self, scalar: torch.Tensor) -> None:
        """Adds the gradient of a scalar; :meth:`step` updates by the *sum* over calls and workers."""

    def step(self) -> float:
        """Clips the gradient, updates the weights by it and zeroes it. Returns its norm before clipping.

        Where the norm is not finite, which is then so on all workers, nothing is updated; the step counts for the
        learning rate all the same.
        """

    def evaluation_mode(self, on: bool) -> None:
        """Switches dropout, SpecAugment and batch statistics off for an evaluation, or on again."""


class CheckpointedEngine(Engine, Protocol):
    """An engine whose state can be saved and restored."""

    def state(self, *, kept: bool = True) -> dict[str, torch.Tensor]:
        """Returns weights and buffers (``weights.NAME``) and Adam's moments (``exp_avg.NAME``), whole, on the CPU.

        Collective.

        Args:
            kept: whether this worker needs them; one that does not holds one tensor at a time, and returns none.
        """

    def restore_optimizer(self, state: Mapping[str, torch.Tensor], steps_done: int, *, updates: int) -> None:
        """Continues from :meth:`state`; its weights must have been loaded into the model before. Collective.

        Args:
            updates: the number of steps that updated the weights.
        """
