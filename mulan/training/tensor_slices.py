"""Slices of named tensors, of which the state of a run consists, and how workers divide what all of them hold."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class TensorSlice:
    """Consecutive elements of a named tensor, in row-major order."""

    name: str
    """The name of the tensor in checkpoints."""
    shape: tuple[int, ...]
    """The shape of the whole tensor."""
    start: int
    """The index of the slice's first element in the flattened tensor."""
    values: torch.Tensor
    """The elements, in the memory of their owner: the whole tensor with any strides, or a contiguous [n]."""

    @classmethod
    def whole(cls, name: str, tensor: torch.Tensor) -> "TensorSlice":
        """Returns a slice that is a whole tensor, and shares its memory."""
        return cls(name, tuple(tensor.shape), 0, tensor.detach())

    @property
    def is_whole(self) -> bool:
        """Whether the slice has all elements of its tensor."""
        return self.values.numel() == math.prod(self.shape)

    def part(self, start: int, stop: int) -> "TensorSlice":
        """Returns the elements from ``start`` to ``stop``, counted from the first one of this slice."""
        if (start, stop) == (0, self.values.numel()):
            return self
        return TensorSlice(self.name, self.shape, self.start + start, self.values.reshape(-1)[start:stop])


def share_of(slices: Iterable[TensorSlice], rank: int, workers: int) -> Iterator[TensorSlice]:
    """Yields a worker's share of slices that all workers hold: the shares are consecutive and equal in bytes.

    Example:
        >>> held = [TensorSlice.whole("a", torch.arange(3.0)), TensorSlice.whole("b", torch.arange(5.0))]
        >>> [(one.name, one.start, one.values.numel()) for one in share_of(held, 1, 2)]
        [('b', 1, 4)]
    """
    held = list(slices)
    total = sum(one.values.nbytes for one in held)
    bounds = [total * number // workers for number in (rank, rank + 1)]
    offset = 0
    for one in held:
        size, numel = one.values.element_size(), one.values.numel()
        # rounded up at both ends, so that the shares of neighbours meet
        start, stop = (min(numel, max(0, -(-(bound - offset) // size))) for bound in bounds)
        if start < stop or (numel == 0 and rank == 0):
            yield one.part(start, stop)
        offset += one.values.nbytes
