"""Sums and norms of float32 numbers that have the same bits in whatever order they are taken.

A floating-point sum depends on the order of its terms, and so on how many workers share them. Here every term is first
rounded to a multiple of 2^-50 and added as an integer, and integer addition is associative. The rounding of a term is
at most 2^-51, or 4e-16; Adam adds its epsilon, 1e-8 by default, to the root of the second moment, so that a gradient
to which this matters does not move a weight. The sum has room for magnitudes up to 2^12.
"""

import math
from collections.abc import Iterable

import torch
import torch.distributed as dist

from mulan.objectives.collectives import world

FRACTION_BITS = 50
SUM_BITS = 62
"""Of an int64 sum, besides its sign; the last bit is room for rounding."""

_PART = {"cpu": 2**16, "cuda": 2**24}
"""Numbers that are worked on at a time: what fits the caches of a CPU core, and what fills a GPU."""

_HIGH_BITS = _LOW_BITS = 31


def term_limit(most_terms: int) -> float:
    """Returns what every number of a term must be smaller than, in magnitude, where a sum may have so many terms."""
    return 2.0 ** (SUM_BITS - FRACTION_BITS) / most_terms


class FixedPointSum:
    """A sum of float32 tensors of one length, as an int64 tensor in units of 2^-50."""

    def __init__(self, length: int, *, most_terms: int, device: torch.device) -> None:
        """
        Args:
            length: numbers of each tensor.
            most_terms: tensors that the sum may have, over all workers. A number of a term may be as large as an equal
                share of what the sum has room for.
        """
        self.units = torch.zeros(length, dtype=torch.int64, device=device)
        self.spoiled = torch.zeros((), dtype=torch.bool, device=device)
        """Whether a term had a number that was too large, infinite or NaN: then the sum says nothing."""
        self._limit = term_limit(most_terms)

    def add(self, values: torch.Tensor) -> None:
        """Adds float32 [length] and leaves zeros in it. Queued without waiting for the device."""
        size = _PART[values.device.type]
        for part, units in zip(torch.split(values, size), torch.split(self.units, size), strict=True):
            least, largest = torch.aminmax(part)  # both are NaN where any number is
            self.spoiled.logical_or_(~((least > -self._limit) & (largest < self._limit)))
            units.add_(part.mul_(2.0**FRACTION_BITS).round_().to(torch.int64))
            part.zero_()


def to_float(units: torch.Tensor) -> torch.Tensor:
    """Returns int64 units of 2^-50 as float32, each rounded once."""
    return units.to(torch.float32).mul_(2.0**-FRACTION_BITS)


def norm_over_workers(parts: Iterable[torch.Tensor], spoiled: torch.Tensor) -> float:
    """Returns the 2-norm of the numbers that all workers hold between them, or NaN where any of them is spoiled.

    The squares are added exactly enough that the result has the same bits however the numbers are shared: each square
    is split into two integers, down to 2^-62 of the largest. Collective.

    Args:
        parts: float32 tensors of this worker, all finite; no number is held by two workers.
        spoiled: a boolean scalar of this worker.
    """
    parts = [part.flatten() for part in parts]
    largest = torch.stack([spoiled.double(), *(part.abs().max().double() for part in parts if part.numel())])
    bounds = torch.stack([largest[0], largest[1:].max() if len(largest) > 1 else largest.new_zeros(())])
    if world()[1] > 1:
        dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
    any_spoiled, most = bounds.tolist()
    if any_spoiled:
        return math.nan
    if not most:
        return 0.0
    exponent = math.frexp(most)[1]  # every number is below 2^exponent
    sums = torch.zeros(2, dtype=torch.int64, device=bounds.device)
    for part in parts:
        for few in torch.split(part, _PART[part.device.type]):
            squares = few.double().mul_(2.0**-exponent).square_().mul_(2.0**_HIGH_BITS)  # exact: 48 bits each
            high = squares.trunc()
            low = squares.sub_(high).mul_(2.0**_LOW_BITS).round_()
            sums += torch.stack([high.to(torch.int64).sum(), low.to(torch.int64).sum()])
    if world()[1] > 1:
        dist.all_reduce(sums)
    high, low = sums.tolist()
    # integers of any length until the root is taken, and then a power of two
    return math.ldexp(math.sqrt((high << _LOW_BITS) + low), exponent - _LOW_BITS)
