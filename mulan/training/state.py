"""Where a run stands: the tensors and the counts that a checkpoint holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Progress:
    """Where a run stands, besides its tensors."""

    steps_done: int
    skipped_recordings: Mapping[str, int] = field(default_factory=dict)
    """The number of skipped recordings by reason."""
    updates_skipped: int = 0
    """Steps that updated nothing, because their loss or gradient was not finite."""
    collapsed_steps: int = 0
    """The newest steps in a row whose embeddings seem to be all the same."""
    anomalies: int = 0
    """The number of anomalies recorded (:class:`mulan.training.health.Anomaly`)."""
    trained_on: Sequence[str] = field(default_factory=list)
    """Each kind of device that its steps were made on (:mod:`mulan.launch.devices`); unknown if empty."""

    @property
    def updates(self) -> int:
        """Of the weights."""
        return self.steps_done - self.updates_skipped


@dataclass(frozen=True)
class Checkpoint:
    """One that has been read and is what was written."""

    uri: str
    progress: Progress
    state: dict[str, torch.Tensor]
    """On the CPU."""


def weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The model's state dict within a checkpoint's tensors."""
    return {name.removeprefix("weights."): tensor for name, tensor in state.items() if name.startswith("weights.")}
