"""The state of a run: the tensors and the counts in a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Progress:
    """The progress of a run: the part of its state other than tensors."""

    steps_done: int
    """The number of completed steps."""
    skipped_recordings: Mapping[str, int] = field(default_factory=dict)
    """The number of skipped recordings by reason."""
    updates_skipped: int = 0
    """The number of steps whose update was skipped, since their loss or gradient was not finite."""
    collapsed_steps: int = 0
    """The number of consecutive steps, up to the last one, whose embeddings seem to be identical."""
    anomalies: int = 0
    """The number of recorded anomalies (:class:`mulan.training.health.Anomaly`)."""
    trained_on: Sequence[str] = field(default_factory=list)
    """The kinds of device on which the run was trained (:mod:`mulan.launch.devices`); unknown if empty."""

    @property
    def updates(self) -> int:
        """The number of updates of the weights."""
        return self.steps_done - self.updates_skipped


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read and verified."""

    uri: str
    """The path or URI of the checkpoint's folder."""
    progress: Progress
    """The progress of the run at the checkpoint."""
    state: dict[str, torch.Tensor]
    """The tensors by name, on the CPU (:meth:`mulan.training.engines.base.CheckpointedEngine.state`)."""


def weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the model's state dict from the tensors of a checkpoint."""
    return _with_prefix(state, "weights.")


def averaged_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the model's state dict with the averages of weights that have one in a checkpoint.

    Weights that are not trained, and buffers such as the running statistics of batch norm, are as they are. If the
    checkpoint has no averages (``optim.ema_decay`` is 0), this equals :func:`weights`.
    """
    return weights(state) | _with_prefix(state, "ema.")


def _with_prefix(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
