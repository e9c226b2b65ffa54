"""What training asks of an engine: a model under an optimizer, on one of the workers."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from mulan.data.batch import Batch
from mulan.model.device_batch import DeviceBatch


class Engine(Protocol):
    """A model under Adam. All workers call the same methods in the same order."""

    micro_batches: int
    """Of the global batch."""
    micro_batches_per_worker: int
    """Of which so many are this worker's."""

    @property
    def module(self) -> torch.nn.Module: ...

    def to_device(self, batch: Batch) -> DeviceBatch: ...

    def forward(self, batch: DeviceBatch) -> Any:
        """What the model makes of a micro-batch: :class:`mulan.model.outputs.Embeddings`, or logits [m, C]."""

    def backward(self, scalar: torch.Tensor) -> None:
        """Adds the gradient of a scalar; the *sum* over workers and calls is what :meth:`step` takes."""

    def step(self) -> float:
        """Clips, updates, and forgets the gradient. Returns its norm before clipping.

        Where the norm is not finite, which it then is on no worker, nothing is updated; the learning rate goes on.
        """

    def evaluation_mode(self, on: bool) -> None:
        """Without dropout, masks and statistics of the micro-batch; or with them again."""


class CheckpointedEngine(Engine, Protocol):
    """One whose state can be taken and given back."""

    def state(self, *, kept: bool = True) -> dict[str, torch.Tensor]:
        """Weights, buffers (``weights.NAME``) and Adam's moments (``exp_avg.NAME``), whole, on the CPU. Collective.

        Args:
            kept: whether this worker wants them; one that does not holds one tensor at a time, and gets none.
        """

    def restore_optimizer(self, state: Mapping[str, torch.Tensor], steps_done: int, *, updates: int) -> None:
        """Continues from :meth:`state`; its weights must have been loaded into the model before. Collective.

        Args:
            updates: how many of the steps updated the weights.
        """
