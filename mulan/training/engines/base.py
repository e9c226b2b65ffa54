"""The interface of an engine, which holds a model and its optimizer on one worker."""

from typing import Any, Protocol

import torch

from mulan.data.batch import Batch
from mulan.model.device_batch import DeviceBatch
from mulan.training.state import SavedState
from mulan.training.tensor_slices import TensorSlice


class Engine(Protocol):
    """A model and its Adam optimizer. All workers call the same methods in the same order."""

    micro_batches: int
    """The number of micro-batches in the global batch."""
    micro_batches_per_worker: int
    """The number of micro-batches of the global batch that this worker computes."""

    @property
    def module(self) -> torch.nn.Module:
        """The model itself."""

    def to_device(self, batch: Batch) -> DeviceBatch:
        """Copies a micro-batch to the engine's device asynchronously."""

    def forward(self, batch: DeviceBatch) -> Any:
        """Returns the model's outputs for a micro-batch, such as :class:`mulan.model.outputs.Embeddings`."""

    def backward(self, scalar: torch.Tensor) -> None:
        """Accumulates the gradient of a scalar. The update of :meth:`step` uses the *sum* over calls and workers."""

    def step(self) -> float:
        """Clips the gradient (``optim.max_grad_norm``), updates the weights and zeroes the gradient. Collective.

        The average of the weights (``optim.ema_decay``) is updated with them. If the norm is not finite, the update is
        skipped on all workers; the learning rate schedule still advances.

        Returns:
            The norm of the gradient before clipping.
        """

    def evaluation_mode(self, on: bool) -> None:
        """Sets evaluation mode or training mode. Collective.

        In evaluation mode there is no dropout and no SpecAugment, batch norm uses its running statistics, and if
        ``optim.ema_decay`` is not 0, the model has the averaged weights.
        """


class CheckpointedEngine(Engine, Protocol):
    """An engine whose state can be saved and restored."""

    def own_state(self) -> list[TensorSlice]:
        """Returns this worker's share of the state, in the memory that training changes; needs no communication.

        The shares of all workers have each element of the state once: what ZeRO shards is in the share of its owner,
        and what all workers hold is divided evenly.

        Returns:
            Slices of weights and buffers (``weights.NAME``), Adam's moments (``exp_avg.NAME``, ``exp_avg_sq.NAME``)
            and, if ``optim.ema_decay`` is not 0, averaged weights (``ema.NAME``).
        """

    def restore_optimizer(self, state: SavedState, steps_done: int, *, updates: int) -> None:
        """Restores what this worker holds of moments and averaged weights, in place.

        Args:
            state: The state; its weights must already be loaded into the model.
            steps_done: The number of steps, on which the learning rate depends.
            updates: The number of steps that updated the weights.
        """
