"""The state of a run: the tensors and the counts that a checkpoint holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Progress:
    """The progress of a run: the part of its state that is not tensors."""

    steps_done: int
    skipped_recordings: Mapping[str, int] = field(default_factory=dict)
    """The number of skipped recordings by reason."""
    updates_skipped: int = 0
    """The number of steps without an update, because their loss or gradient was not finite."""
    collapsed_steps: int = 0
    """The number of consecutive newest steps whose embeddings seem to be all the same."""
    anomalies: int = 0
    """The number of anomalies recorded (:class:`mulan.training.health.Anomaly`)."""
    trained_on: Sequence[str] = field(default_factory=list)
    """The kinds of device on which the steps were trained (:mod:`mulan.launch.devices`); unknown if empty."""

    @property
    def updates(self) -> int:
        """The number of updates of the weights."""
        return self.steps_done - self.updates_skipped


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and verified."""

    uri: str
    progress: Progress
    state: dict[str, torch.Tensor]
    """The tensors by name, on the CPU (:meth:`mulan.training.engines.base.CheckpointedEngine.state`)."""


def weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the model's state dict from the tensors of a checkpoint."""
    return {name.removeprefix("weights."): tensor for name, tensor in state.items() if name.startswith("weights.")}
