"""The gradient of a step, summed in fixed point over micro-batches and workers.

The gradient of a micro-batch does not depend on the worker that computes it, and the sum does not depend on the order,
so the gradient of a step has the same bits on any number of workers. See :mod:`mulan.distributed.fixed_point`.

Costs, for N parameters on W workers: at ZeRO stages 0 to 2 a worker holds sums of 8 N bytes besides the 4 N of the
newest micro-batch's gradient; at stage 3, sums of 8 N / W bytes and the pending buckets. It sends 8 bytes per parameter
rather than the 4 of plain sums, once per step at stages 0 to 2 and after every micro-batch at stage 3. On GPUs, adding
a micro-batch's gradient moves 40 bytes per parameter through memory rather than the 12 of plain accumulation. To
calculate the costs of a recipe: ``python -m jobs.bench sums --calculate --recipe m_resnet50``.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from mulan.distributed.collectives import rank_and_world_size, reduce_scatter_sum
from mulan.distributed.fixed_point import FixedPointSum, norm_over_workers, to_float

BUCKET_SIZE = 2**24
"""Maximum number of elements of sharded sums that are reduced at a time, unless a single parameter has more."""


class ReplicatedSums:
    """Gradient sums that every worker holds in full, 8 bytes per parameter, and that are reduced once per step."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, micro_batches: int, shard: int | None = None) -> None:
        """
        Args:
            parameters: Parameters in the order of the sum. They accumulate the gradients of losses that are
                multiplied by :data:`mulan.distributed.fixed_point.UNITS`.
            micro_batches: Number of micro-batches of the global batch.
            shard: Number of elements of the sum that :meth:`take` returns on each worker; the sum is padded to this
                number times the number of workers. If None, each worker takes the whole sum.
        """
        self._parameters, self._shard = parameters, shard
        length = (
            sum(parameter.numel() for parameter in parameters) if shard is None else shard * rank_and_world_size()[1]
        )
        self._sum = FixedPointSum(length, max_terms=micro_batches, device=parameters[0].device)

    @property
    def nonfinite(self) -> torch.Tensor:
        """Boolean scalar, True if the sum is invalid; see :attr:`FixedPointSum.nonfinite`."""
        return self._sum.nonfinite

    def begin_step(self) -> None:
        """Begins new sums. Call it before each step; it invalidates the tensors that :meth:`take` returned."""
        self._sum.reset()

    def end_micro_batch(self) -> None:
        """Adds the gradients and removes them from the parameters. Call it after each backward pass."""
        self._sum.add(p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters)
        for parameter in self._parameters:
            parameter.grad = None  # so that the next backward pass does not accumulate into it

    def take(self) -> torch.Tensor:
        """Returns the sum, or this worker's shard, as float32, possibly in the memory of the sum. Collective."""
        if self._shard is not None:
            return to_float(reduce_scatter_sum(self._sum.units))
        if rank_and_world_size()[1] > 1:
            dist.all_reduce(self._sum.units)
        return to_float(self._sum.units)


class ShardedSums:
    """Gradient sums of which every worker holds a shard of each parameter, reduced bucket by bucket per micro-batch.

    The shard of a parameter of n elements is one of W rows of ceil(n / W) elements, the last ones padded. Buckets are
    reduced during the backward pass, between other collectives of ZeRO: the backward passes of all workers must produce
    gradients for the same parameters.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], numels: Sequence[int], *, micro_batches: int) -> None:
        """
        Args:
            parameters: As in :class:`ReplicatedSums`, in the order in which the model uses them, which is that of their
                shards in the sum. They may be empty at this time, as between uses at ZeRO stage 3.
            numels: Number of elements of each parameter when it is gathered.
            micro_batches: Number of micro-batches of the global batch.
        """
        self._buckets: list[_Bucket] = []
        self._bucket_of: dict[nn.Parameter, _Bucket] = {}
        workers, width = rank_and_world_size()[1], 0
        for parameter, numel in zip(parameters, numels, strict=True):
            if not self._buckets or self._buckets[-1].numel + numel > BUCKET_SIZE:
                self._buckets.append(_Bucket(first=width))
            bucket = self._bucket_of[parameter] = self._buckets[-1]
            bucket.add(parameter, numel, workers)
            width = bucket.first + bucket.width
            parameter.register_post_accumulate_grad_hook(self._on_gradient)  # type: ignore[no-untyped-call]
        device = parameters[0].device
        self.nonfinite = torch.zeros((), dtype=torch.bool, device=device)
        self._shard = torch.zeros(width, dtype=torch.float64, device=device)
        self._micro_batches = micro_batches
        self._begin_micro_batch()

    def begin_step(self) -> None:
        """Begins new sums. Call it before each step; it invalidates the tensors that :meth:`take` returned."""
        self.nonfinite.zero_()
        self._shard.zero_()

    def _begin_micro_batch(self) -> None:
        # all workers reduce the buckets in the same order: the last one first, as gradients arrive back to front
        self._pending = list(self._buckets)
        for bucket in self._buckets:
            bucket.missing = set(bucket.parameters)

    def _on_gradient(self, parameter: nn.Parameter) -> None:
        bucket = self._bucket_of[parameter]
        bucket.fill(parameter)
        while self._pending and not self._pending[-1].missing:
            self._reduce(self._pending.pop())

    def _reduce(self, bucket: "_Bucket") -> None:
        values = bucket.take()
        reduced = FixedPointSum(len(values), max_terms=self._micro_batches, device=values.device)
        reduced.add([values])
        self.nonfinite.logical_or_(reduced.nonfinite)
        self._shard[bucket.first : bucket.first + bucket.width].add_(reduce_scatter_sum(reduced.units))

    def end_micro_batch(self) -> None:
        """Reduces the remaining buckets, with zeros for unused parameters. Call it after each backward. Collective."""
        while self._pending:
            self._reduce(self._pending.pop())
        self._begin_micro_batch()

    def take(self) -> torch.Tensor:
        """Returns this worker's shards of all parameters, concatenated, as float32 in the memory of the sum."""
        return to_float(self._shard)


class _Bucket:
    """Parameters whose gradients are reduced together, as [W, width]."""

    def __init__(self, first: int) -> None:
        self.first, self.width, self.numel = first, 0, 0
        self.parameters: dict[nn.Parameter, tuple[int, int]] = {}
        """First column and number of columns of each parameter."""
        self.missing: set[nn.Parameter] = set()
        self._values: torch.Tensor | None = None

    def add(self, parameter: nn.Parameter, numel: int, workers: int) -> None:
        columns = -(-numel // workers)
        self.parameters[parameter] = (self.width, columns)
        self.width += columns
        self.numel += numel
        self._workers = workers

    def fill(self, parameter: nn.Parameter) -> None:
        """Moves a parameter's gradient into the bucket."""
        assert parameter.grad is not None
        values, (start, columns) = self._allocated(parameter.grad), self.parameters[parameter]
        rows, gradient = values[:, start : start + columns], parameter.grad.flatten()
        full = len(gradient) // columns if columns else 0
        rows[:full].copy_(gradient[: full * columns].view(full, columns))
        rest = gradient[full * columns :]
        if len(rest):
            rows[full, : len(rest)].copy_(rest)
        parameter.grad = None
        self.missing.discard(parameter)

    def _allocated(self, like: torch.Tensor) -> torch.Tensor:
        if self._values is None:
            self._values = like.new_zeros(self._workers, self.width)
        return self._values

    def take(self) -> torch.Tensor:
        """Returns the gradients, [W * width] in row-major order, and empties the bucket."""
        device = next(iter(self.parameters)).device
        values = self._values if self._values is not None else torch.zeros(self._workers, self.width, device=device)
        self._values = None
        return values.flatten()


def clip_grad_norm(
    gradients: Sequence[torch.Tensor], own: Sequence[torch.Tensor], nonfinite: torch.Tensor, *, max_norm: float
) -> float:
    """Scales a gradient in place to a norm of at most ``max_norm``; returns the norm before scaling. Collective.

    If the norm is NaN, the gradient is left unchanged on every worker.

    Args:
        gradients: This worker's tensors.
        own: This worker's disjoint part of all workers' gradients, for the norm.
        nonfinite: Boolean scalar, True if the gradient sums of this worker are invalid.
        max_norm: Maximum norm; infinity leaves every gradient unchanged.
    """
    norm = norm_over_workers(own, nonfinite)
    if norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / norm)
    return norm
