"""The state of a run: the tensors and the counts in a checkpoint."""

from abc import abstractmethod
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


class SavedState(Mapping[str, torch.Tensor]):
    """The tensors of a checkpoint by name; each is read when it is asked for, and is on the CPU.

    Their names are those of :meth:`mulan.training.engines.base.CheckpointedEngine.own_state`.
    """

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor without reading it."""

    @abstractmethod
    def read_into(self, name: str, target: torch.Tensor, *, start: int = 0) -> None:
        """Reads consecutive elements of a tensor into the memory of another one, which determines their number.

        Args:
            name: The name of the tensor.
            target: The tensor to fill. Unless it is contiguous, on the CPU and of the stored type, the elements are
                first read into memory of their own.
            start: The index of the first element in the flattened tensor.
        """

    @abstractmethod
    def close(self) -> None:
        """Closes the files; nothing can be read afterwards. Files that have been removed are now freed."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, whose tensors have not been read yet."""

    uri: str
    """The path or URI of the checkpoint's folder."""
    progress: Progress
    """The progress of the run at the checkpoint."""
    state: SavedState
    """The tensors."""


def load_weights(model: torch.nn.Module, state: SavedState, *, averaged: bool = False) -> None:
    """Reads the weights and buffers of a model into its memory, one at a time.

    Args:
        averaged: True to read the averages of weights that have one (``optim.ema_decay``). Weights that are not
            trained, and buffers such as the running statistics of batch norm, are as they are in either case.

    Raises:
        ValueError: The names or shapes of the model's tensors are not those of the checkpoint.
    """
    tensors = model.state_dict()
    stored = {name.removeprefix("weights.") for name in state if name.startswith("weights.")}
    if faults := sorted(stored ^ tensors.keys()):
        raise ValueError(f"only one of checkpoint and model has these tensors: {', '.join(faults)}")
    for name, tensor in tensors.items():
        source = f"ema.{name}" if averaged and f"ema.{name}" in state else f"weights.{name}"
        if state.shape(source) != tuple(tensor.shape):
            raise ValueError(f"{source} has the shape {state.shape(source)}, and in the model {tuple(tensor.shape)}")
        state.read_into(source, tensor)
