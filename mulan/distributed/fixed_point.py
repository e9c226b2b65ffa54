"""Sums and norms of float32 numbers that are bitwise independent of the order of the terms.

A floating-point sum depends on the order of its terms, and therefore on the number of workers. Here, every term is
first rounded to a multiple of 2^-38. Sums of such multiples below 2^14 in magnitude are exact in float64, which has
53 bits, and exact sums are associative. Float32 has 24 bits, so numbers of at least 2^-14 (6e-5) are not rounded at
all. Smaller ones are rounded by at most 2^-39 (2e-12), a five-thousandth of Adam's epsilon (1e-8 by default), which is
added to the root of the second moment. A finer grid would leave less headroom, and gradients of micro-batches, which
partly cancel in the sum, can be much larger than their sum: at low temperatures they reach hundreds.

Float64 is used rather than int64, which has ten bits more, because CPUs convert to it and add it in vector registers,
and GPUs in one kernel.
"""

import math
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist

from mulan.distributed.collectives import rank_and_world_size

FRACTION_BITS = 38
SUM_BITS = 52
"""Number of bits of a float64 sum besides its sign; the 53rd is headroom for rounding a limit to float32."""

UNITS = 2.0**FRACTION_BITS
"""Factor by which a loss is multiplied for its gradient to be in units of 2^-38. It is exact."""

_CHUNK_SIZE = {"cpu": 2**16, "cuda": 2**24}
"""Number of elements processed at a time, by device type: they fit the caches of a CPU core, or utilise a GPU."""

_HALF_BITS = 29
"""Number of bits in each half of a square; the sum of 2^24 halves is exact in float64."""


def term_limit(max_terms: int) -> float:
    """Returns the exclusive bound on the magnitude of every element of a term, for sums of at most ``max_terms``."""
    return 2.0 ** (SUM_BITS - FRACTION_BITS) / max_terms


class FixedPointSum:
    """A sum of float32 tensors, held as a float64 tensor of integer multiples of 2^-38."""

    def __init__(self, length: int, *, max_terms: int, device: torch.device) -> None:
        """
        Args:
            length: Number of elements.
            max_terms: Maximum number of terms over all workers, which determines :func:`term_limit`.
        """
        self.units = torch.empty(length, dtype=torch.float64, device=device)
        self.nonfinite = torch.zeros((), dtype=torch.bool, device=device)
        """Boolean scalar, True if an element of a term was too large, infinite or NaN; the sum is then invalid."""
        self._limit = term_limit(max_terms) * UNITS
        self.reset()

    def reset(self) -> None:
        """Begins a new sum. Its first term overwrites the units."""
        self._empty = True
        self.nonfinite.zero_()

    def add(self, term: Iterable[torch.Tensor]) -> None:
        """Adds a term, without synchronizing with the device.

        Args:
            term: float32 tensors in units, which are concatenated and padded with zeros to the length of the sum.
        """
        start = 0
        extremes: list[torch.Tensor] = []
        for chunk in _chunks(term):
            units = self.units[start : start + len(chunk)]
            start += len(chunk)
            extremes += torch.aminmax(chunk)  # both are NaN if any element is
            if self._empty:
                units.copy_(chunk.round())
            else:
                units.add_(chunk.round())
        self.nonfinite.logical_or_(~(torch.stack(extremes).abs() < self._limit).all())
        if self._empty:
            self.units[start:].zero_()
        self._empty = False


def _chunks(tensors: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yields the elements of the tensors in order, as flat, non-empty tensors of at most the chunk size."""
    pending: list[torch.Tensor] = []
    for tensor in tensors:
        size = _CHUNK_SIZE[tensor.device.type]
        for piece in torch.split(tensor.flatten(), size):
            if pending and sum(map(len, pending)) + len(piece) > size:
                yield _concatenated(pending)
                pending = []
            if len(piece):
                pending.append(piece)
    if pending:
        yield _concatenated(pending)


def _concatenated(pieces: list[torch.Tensor]) -> torch.Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def to_float(units: torch.Tensor) -> torch.Tensor:
    """Converts contiguous units of 2^-38 to float32 in place; each is rounded once."""
    result, size = units.view(torch.float32)[: len(units)], _CHUNK_SIZE[units.device.type]
    for start in range(0, len(units), size):  # ascending, so that no units are overwritten before they are read
        chunk = slice(start, start + size)
        # source and destination overlap only in the first chunk
        result[chunk].copy_(units[chunk] if start else units[chunk].clone()).mul_(1 / UNITS)
    return result


def norm_over_workers(parts: Iterable[torch.Tensor], nonfinite: torch.Tensor) -> float:
    """Returns the 2-norm of the numbers of all workers together; NaN if ``nonfinite`` is True on any of them.

    The result has the same bits however the numbers are distributed: each square is rounded to a multiple of 2^-58 of
    the largest (of the power of two above it), and the sum of squares is exact. Collective.

    Args:
        parts: Finite float32 tensors of this worker, disjoint from those of other workers.
        nonfinite: Boolean scalar, True if this worker's numbers are invalid.
    """
    chunks = list(_chunks(parts))
    extremes = torch.stack([torch.zeros_like(nonfinite).float(), *(end for c in chunks for end in torch.aminmax(c))])
    bounds = torch.stack([nonfinite.float(), extremes.abs().max()])
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(bounds, op=dist.ReduceOp.MAX)
    any_nonfinite, maximum = bounds.tolist()
    if any_nonfinite:
        return math.nan
    if not maximum:
        return 0.0
    exponent = math.frexp(maximum)[1]  # every number is below 2^exponent
    unit = 2.0 ** (2 * exponent - _HALF_BITS)
    sums = torch.zeros(2, dtype=torch.int64, device=bounds.device)
    for chunk in chunks:
        sums += _sum_of_squares(chunk, unit)
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(sums)
    high, low = sums.tolist()
    # Python integers are exact up to the root, and the last step is an exact power of two
    return math.ldexp(math.sqrt((high << _HALF_BITS) + low), exponent - _HALF_BITS)


def _sum_of_squares(numbers: torch.Tensor, unit: float) -> torch.Tensor:
    """Returns int64 [2]: the sum of squares in units, and the sum of the remainders in units of 2^-29 of a unit."""
    squares, part = numbers.double().square_(), unit * 2.0**-_HALF_BITS  # a square has at most 48 bits
    high = _round(squares.clone(), unit)
    low = _round(squares.sub_(high), part)
    return torch.stack([high.sum() / unit, low.sum() / part]).to(torch.int64)


def _round(values: torch.Tensor, unit: float) -> torch.Tensor:
    """Rounds float64 values below 2^51 units in place to multiples of a unit, which is a power of two."""
    offset = 1.5 * 2.0**52 * unit  # the last bit of the offset, and of its sums with the values, is one unit
    return values.add_(offset).sub_(offset)
