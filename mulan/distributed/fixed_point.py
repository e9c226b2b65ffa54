"""Sums and norms of float32 numbers that have the same bits in whatever order they are taken.

A floating-point sum depends on the order of its terms, and so on how many workers share them. Here every term is first
rounded to a multiple of 2^-38. Sums of such multiples below 2^14 in magnitude are exact in float64, which has 53 bits,
and exact sums are associative. Float32 has 24 bits: numbers from 2^-14 on, or 6e-5, lose nothing at all. What smaller
ones lose is at most 2^-39, or 2e-12: a five-thousandth of Adam's epsilon, 1e-8 by default, which is added to the root
of the second moment. A finer grid would leave less room, and gradients of micro-batches, which partly cancel in the
sum, can be large where their sum is not: at low temperatures they come to hundreds.

Float64 and not int64, which has ten bits more: processors convert to it and add it in vector registers, and GPUs in one
kernel.
"""

import math
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist

from mulan.distributed.collectives import rank_and_world_size

FRACTION_BITS = 38
SUM_BITS = 52
"""A float64 sum has so many bits besides its sign; the 53rd is room for rounding a limit to float32."""

UNITS = 2.0**FRACTION_BITS
"""A loss is multiplied by this for its gradient to come in units of 2^-38. This rounds nothing."""

_PART = {"cpu": 2**16, "cuda": 2**24}
"""Numbers that are worked on at a time: what fits the caches of a CPU core, and what fills a GPU."""

_HALF_BITS = 29
"""A square has two halves of so many bits, and float64 holds the sum of 2^24 of each exactly."""


def term_limit(max_terms: int) -> float:
    """Returns what every number of a term must be smaller than, in magnitude, where a sum may have so many terms."""
    return 2.0 ** (SUM_BITS - FRACTION_BITS) / max_terms


class FixedPointSum:
    """A sum of float32 numbers, as a float64 tensor of whole units of 2^-38."""

    def __init__(self, length: int, *, max_terms: int, device: torch.device) -> None:
        """
        Args:
            length: numbers of the sum.
            max_terms: terms that the sum may have, over all workers. A number of a term may be as large as an equal
                share of what the sum has room for.
        """
        self.units = torch.empty(length, dtype=torch.float64, device=device)
        self.nonfinite = torch.zeros((), dtype=torch.bool, device=device)
        """Whether a term had a number that was too large, infinite or NaN: then the sum says nothing."""
        self._limit = term_limit(max_terms) * UNITS
        self.begin()

    def begin(self) -> None:
        """Begins another sum. Its first term is written over what the units were."""
        self._empty = True
        self.nonfinite.zero_()

    def add(self, term: Iterable[torch.Tensor]) -> None:
        """Adds a term. Queued without waiting for the device.

        Args:
            term: float32 tensors, in units, that lie one after another in the sum; behind the last one it has zeros.
        """
        place = 0
        extremes: list[torch.Tensor] = []
        for piece in _pieces(term):
            units = self.units[place : place + len(piece)]
            place += len(piece)
            extremes += torch.aminmax(piece)  # both are NaN where any number is
            if self._empty:
                units.copy_(piece.round())
            else:
                units.add_(piece.round())
        self.nonfinite.logical_or_(~(torch.stack(extremes).abs() < self._limit).all())
        if self._empty:
            self.units[place:].zero_()
        self._empty = False


def _pieces(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The numbers of the tensors in order, cut and joined to flat tensors of a good size to work on, none empty."""
    waiting: list[torch.Tensor] = []
    for tensor in tensors:
        size = _PART[tensor.device.type]
        for piece in torch.split(tensor.flatten(), size):
            if waiting and sum(map(len, waiting)) + len(piece) > size:
                yield _joined(waiting)
                waiting = []
            if len(piece):
                waiting.append(piece)
    if waiting:
        yield _joined(waiting)


def _joined(pieces: list[torch.Tensor]) -> torch.Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def to_float(units: torch.Tensor) -> torch.Tensor:
    """Returns contiguous units of 2^-38 as float32, each rounded once, in the memory of the units themselves."""
    found, size = units.view(torch.float32)[: len(units)], _PART[units.device.type]
    for begin in range(0, len(units), size):  # ascending: no units are written over before they are read
        part = slice(begin, begin + size)
        # of the first part alone the two places overlap
        found[part].copy_(units[part] if begin else units[part].clone()).mul_(1 / UNITS)
    return found


def norm_over_workers(parts: Iterable[torch.Tensor], nonfinite: torch.Tensor) -> float:
    """Returns the 2-norm of the numbers that all workers hold between them; NaN if ``nonfinite`` is set on any of them.

    The squares are added exactly enough that the result has the same bits however the numbers are shared: each square
    is rounded to a multiple of 2^-58 of the largest (of the power of two above it), and their sum is exact. Collective.

    Args:
        parts: float32 tensors of this worker, all finite; no number is held by two workers.
        nonfinite: boolean scalar, whether this worker's numbers are to be disregarded.
    """
    pieces = list(_pieces(parts))
    extremes = torch.stack([torch.zeros_like(nonfinite).float(), *(end for p in pieces for end in torch.aminmax(p))])
    bounds = torch.stack([nonfinite.float(), extremes.abs().max()])
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
    any_nonfinite, most = bounds.tolist()
    if any_nonfinite:
        return math.nan
    if not most:
        return 0.0
    exponent = math.frexp(most)[1]  # every number is below 2^exponent
    unit = 2.0 ** (2 * exponent - _HALF_BITS)
    sums = torch.zeros(2, dtype=torch.int64, device=bounds.device)
    for piece in pieces:
        sums += _sum_of_squares(piece, unit)
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(sums)
    high, low = sums.tolist()
    # integers of any length until the root is taken, and then a power of two
    return math.ldexp(math.sqrt((high << _HALF_BITS) + low), exponent - _HALF_BITS)


def _sum_of_squares(numbers: torch.Tensor, unit: float) -> torch.Tensor:
    """Returns int64 [2]: the units of the sum of squares, and what is left over in units of 2^-29 of a unit."""
    squares, part = numbers.double().square_(), unit * 2.0**-_HALF_BITS  # a square has 48 bits at the most
    high = _round(squares.clone(), unit)
    low = _round(squares.sub_(high), part)
    return torch.stack([high.sum() / unit, low.sum() / part]).to(torch.int64)


def _round(values: torch.Tensor, unit: float) -> torch.Tensor:
    """Rounds float64 in place to multiples of a power of two, of which every value is fewer than 2^51."""
    end = 1.5 * 2.0**52 * unit  # its last bit is a unit, and so is that of its sums
    return values.add_(end).sub_(end)
