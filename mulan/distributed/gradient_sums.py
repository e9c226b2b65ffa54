"""The gradient of a step, added up in fixed point over micro-batches and workers; see mulan.distributed.fixed_point.

Each micro-batch's gradient is computed alike wherever it runs. As its sum does not depend on the order either, it has
the same bits on any number of workers.

What it costs, of N numbers on W workers: at stages 0 to 2 a worker holds sums of 8 N bytes besides the 4 N of the
newest micro-batch's gradient, at stage 3 sums of 8 N / W and the buckets that wait for their turn. It sends 8 bytes a
number where plain sums are 4, once a step at stages 0 to 2 and after every micro-batch at stage 3. On GPUs, adding a
micro-batch's gradient moves 40 bytes a number through memory where plain accumulation moves 12. What that comes to
at a recipe's size: ``python -m jobs.bench sums --calculate --recipe m_resnet50``.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from mulan.distributed.collectives import rank_and_world_size, reduce_scatter_sum
from mulan.distributed.fixed_point import FixedPointSum, norm_over_workers, to_float

BUCKET = 2**24
"""Where sums are sharded, so many numbers are reduced at a time at the most, unless a single parameter has more."""


class WholeSums:
    """Sums of which every worker holds all, 8 bytes a number, and which are reduced once a step."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, micro_batches: int, shard: int | None = None) -> None:
        """
        Args:
            parameters: in the order in which they lie in the sum. Backward passes of losses that are multiplied by
                :data:`mulan.distributed.fixed_point.UNITS` leave their gradients at them.
            micro_batches: of the global batch.
            shard: numbers of a sum that each worker takes, of as many equal parts as there are workers, the last ones
                padded; where it is not given, each takes all.
        """
        self._parameters, self._shard = parameters, shard
        length = (
            sum(parameter.numel() for parameter in parameters) if shard is None else shard * rank_and_world_size()[1]
        )
        self._sum = FixedPointSum(length, max_terms=micro_batches, device=parameters[0].device)

    @property
    def nonfinite(self) -> torch.Tensor:
        return self._sum.nonfinite

    def begin(self) -> None:
        """To be called before each step. What was taken is written over from then on."""
        self._sum.begin()

    def end_micro_batch(self) -> None:
        """To be called after each backward pass. Takes the gradients off the parameters."""
        self._sum.add(p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters)
        for parameter in self._parameters:
            parameter.grad = None  # the next backward pass need not add to it

    def take(self) -> torch.Tensor:
        """Returns the sum, or this worker's shard of it, as float32; it may lie in the sum's memory. Collective."""
        if self._shard is not None:
            return to_float(reduce_scatter_sum(self._sum.units))
        if rank_and_world_size()[1] > 1:
            dist.all_reduce(self._sum.units)
        return to_float(self._sum.units)


class ShardedSums:
    """Sums of which every worker holds its shard of each parameter, reduced after every micro-batch, bucket by bucket.

    A shard of a parameter of n numbers is the worker's of W rows of ceil(n / W) numbers, the last ones padded. Buckets
    are reduced during the backward pass, between other collectives of ZeRO: all workers' backward passes must give
    gradients to the same parameters.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], numels: Sequence[int], *, micro_batches: int) -> None:
        """
        Args:
            parameters: as of :class:`WholeSums`; in the order in which the model uses them, and their shards lie in the
                sum. They may hold no numbers now.
            numels: how many they have when they do.
            micro_batches: of the global batch.
        """
        self._buckets: list[_Bucket] = []
        self._of: dict[nn.Parameter, _Bucket] = {}
        workers, width = rank_and_world_size()[1], 0
        for parameter, numel in zip(parameters, numels, strict=True):
            if not self._buckets or self._buckets[-1].numbers + numel > BUCKET:
                self._buckets.append(_Bucket(first=width))
            bucket = self._of[parameter] = self._buckets[-1]
            bucket.add(parameter, numel, workers)
            width = bucket.first + bucket.width
            parameter.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]
        device = parameters[0].device
        self.nonfinite = torch.zeros((), dtype=torch.bool, device=device)
        self._shard = torch.zeros(width, dtype=torch.float64, device=device)
        self._micro_batches = micro_batches
        self._begin_micro_batch()

    def begin(self) -> None:
        """To be called before each step. What was taken is written over from then on."""
        self.nonfinite.zero_()
        self._shard.zero_()

    def _begin_micro_batch(self) -> None:
        # all workers reduce the same bucket at a time: the last one first, since gradients come from the back
        self._waiting = list(self._buckets)
        for bucket in self._buckets:
            bucket.missing = set(bucket.parameters)

    def _arrived(self, parameter: nn.Parameter) -> None:
        bucket = self._of[parameter]
        bucket.fill(parameter)
        while self._waiting and not self._waiting[-1].missing:
            self._reduce(self._waiting.pop())

    def _reduce(self, bucket: "_Bucket") -> None:
        values = bucket.take()
        reduced = FixedPointSum(len(values), max_terms=self._micro_batches, device=values.device)
        reduced.add([values])
        self.nonfinite.logical_or_(reduced.nonfinite)
        self._shard[bucket.first : bucket.first + bucket.width].add_(reduce_scatter_sum(reduced.units))

    def end_micro_batch(self) -> None:
        """To be called after each backward pass: the parameters that had no part in it have no gradient. Collective."""
        while self._waiting:
            self._reduce(self._waiting.pop())
        self._begin_micro_batch()

    def take(self) -> torch.Tensor:
        """Returns this worker's shards, one parameter after another, as float32, in the memory of the sum itself."""
        return to_float(self._shard)


class _Bucket:
    """Parameters whose gradients are reduced together, as [W, width]."""

    def __init__(self, first: int) -> None:
        self.first, self.width, self.numbers = first, 0, 0
        self.parameters: dict[nn.Parameter, tuple[int, int]] = {}
        """Where the columns of each begin, and how many it has."""
        self.missing: set[nn.Parameter] = set()
        self._values: torch.Tensor | None = None

    def add(self, parameter: nn.Parameter, numel: int, workers: int) -> None:
        columns = -(-numel // workers)
        self.parameters[parameter] = (self.width, columns)
        self.width += columns
        self.numbers += numel
        self._workers = workers

    def fill(self, parameter: nn.Parameter) -> None:
        """Moves a parameter's gradient here."""
        assert parameter.grad is not None
        values, (begin, columns) = self._whole(parameter.grad), self.parameters[parameter]
        rows, gradient = values[:, begin : begin + columns], parameter.grad.flatten()
        full = len(gradient) // columns if columns else 0
        rows[:full].copy_(gradient[: full * columns].view(full, columns))
        rest = gradient[full * columns :]
        if len(rest):
            rows[full, : len(rest)].copy_(rest)
        parameter.grad = None
        self.missing.discard(parameter)

    def _whole(self, like: torch.Tensor) -> torch.Tensor:
        if self._values is None:
            self._values = like.new_zeros(self._workers, self.width)
        return self._values

    def take(self) -> torch.Tensor:
        """Returns all columns, row after row, and forgets them."""
        device = next(iter(self.parameters)).device
        values = self._values if self._values is not None else torch.zeros(self._workers, self.width, device=device)
        self._values = None
        return values.flatten()


def clipped(
    gradients: Sequence[torch.Tensor], own: Sequence[torch.Tensor], nonfinite: torch.Tensor, *, most: float
) -> float:
    """Scales a gradient to a norm of at most ``most``, and returns the norm that it had. Collective.

    Where that is NaN the gradient is left as it is, on every worker.

    Args:
        gradients: this worker's tensors.
        own: those, or parts of them, of which no other worker has any number.
        nonfinite: whether one of this worker's micro-batches had a gradient that cannot be added up; a boolean scalar.
    """
    norm = norm_over_workers(own, nonfinite)
    if norm > most:
        for gradient in gradients:
            gradient.mul_(most / norm)
    return norm
