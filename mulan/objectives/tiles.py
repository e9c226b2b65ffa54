"""Similarities of a process's rows to all rows of the global batch, in tiles: the whole matrix is never in memory.

Tiles belong to the global batch, independent of the process that computes them: where a process holds some rows of a
tile, zeros stand for the others. Kernels may add in another order for matrices of another shape, or at another position
in a matrix; in a tile of the same shape, a row at the same position is bitwise equal, whatever the others are.

Tiles are float64 for embeddings of any dtype. Division by the temperature magnifies rounding errors, and the
normalisation of the embeddings then removes most of their gradient but not its error: in float32 the first step of a
small model would differ by parts in a million between one process and two. In both, the towers take far longer than the
loss.

By calculation, that also holds on GPUs whose float64 arithmetic is a 64th of their float32, so tiles are float64 on
every device. The loss of B pairs needs 12 B^2 d operations for its products and 6 B^2 exponentials: at 6,144 pairs of
128 values, 6e10 operations, less than 0.1 s at 1 TFLOP/s. The towers of ``m_resnet50`` need 1.6e15 for these pairs,
about 10 s at 165 TFLOP/s in bfloat16. ``python -m jobs.bench gpu`` measures both, and the rate of float64.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

TILE = 512
"""Maximum number of rows and columns of a tile: 2 MiB, with three tiles alive at a time.

Larger tiles need fewer calls; smaller ones fit the processor's caches and take less memory than the gradients.
"""


class Tile(NamedTuple):
    """Similarities of r anchors to c partners, in float64."""

    columns: slice
    """Rows of the partners in the global batch."""
    partners: torch.Tensor
    """Embeddings of the partners, [c, d]."""
    similarity: torch.Tensor
    """Similarities divided by the temperature, [r, c]; -inf where they are not negatives of each other: for an anchor
    and its own partner, and for equal texts if they are masked. May be overwritten."""
    spare: torch.Tensor
    """Uninitialised buffer for results, [r, c]."""


def own_part(rows: slice, own: slice) -> tuple[slice, slice]:
    """Returns which rows a row of tiles has of this process: counted in the tiles, and in the rows of the process.

    Example:
        >>> own_part(slice(512, 1024), slice(600, 1200))
        (slice(88, 512, None), slice(0, 424, None))
    """
    first, stop = max(rows.start, own.start), min(rows.stop, own.stop)
    return slice(first - rows.start, stop - rows.start), slice(first - own.start, stop - own.start)


def covering_rows(own: slice, count: int) -> slice:
    """Returns the rows of all tiles that contain rows of this process, for ``count`` rows in the global batch.

    Example:
        >>> covering_rows(slice(600, 700), 2000)
        slice(512, 1024, None)
    """
    return slice(own.start // TILE * TILE, min(-(-own.stop // TILE) * TILE, count))


def iterate_tiles(
    anchors: torch.Tensor,
    others: torch.Tensor,
    temperature: torch.Tensor,
    *,
    own: slice,
    texts: torch.Tensor | None = None,
) -> Iterator[tuple[slice, torch.Tensor, Iterator[Tile]]]:
    """Iterates over the tiles that contain anchors of this process, one row of tiles at a time.

    All tiles share one buffer. With a buffer for each, small tensors allocated in between would fragment the freed
    memory, and the process would grow from tile to tile.

    Args:
        anchors: [b, d], of this process.
        others: [B, d], of all processes; row i is the partner of anchor i of the global batch.
        temperature: Scalar that divides the similarities.
        own: Rows of this process's anchors in the global batch.
        texts: Integer ids of the texts, int64 [B], to mask the similarities of anchors to partners with an equal text;
            None masks only those to their own partners.

    Yields:
        The rows of a row of tiles in the global batch, the anchors divided by the temperature (float64 [r, d]; 0 for
        those of other processes), and the tiles.
    """
    rows = covering_rows(own, len(others))
    size = min(TILE, len(others)) ** 2
    memory = torch.empty(2, size, dtype=torch.float64, device=anchors.device)
    equal = None if texts is None else torch.empty(size, dtype=torch.bool, device=anchors.device)
    for row in range(rows.start, rows.stop, TILE):
        tile_rows = slice(row, min(row + TILE, rows.stop))
        inside, mine = own_part(tile_rows, own)
        ends = (inside.start, tile_rows.stop - tile_rows.start - inside.stop)
        scaled = torch.nn.functional.pad(anchors[mine].double() / temperature, (0, 0, *ends))
        yield tile_rows, scaled, _row_of_tiles(scaled, others, memory, texts, equal, first=row)


def _row_of_tiles(
    scaled: torch.Tensor,
    others: torch.Tensor,
    memory: torch.Tensor,
    texts: torch.Tensor | None,
    equal: torch.Tensor | None,
    *,
    first: int,
) -> Iterator[Tile]:
    for column in range(0, len(others), TILE):
        columns = slice(column, column + TILE)
        partners = others[columns].double()
        shape = (len(scaled), len(partners))
        similarity, spare = (part[: math.prod(shape)].view(shape) for part in memory)
        torch.mm(scaled, partners.T, out=similarity)
        similarity.diagonal(first - column).fill_(-torch.inf)  # empty if the diagonal does not cross the tile
        if texts is not None and equal is not None:
            mask = equal[: math.prod(shape)].view(shape)
            torch.eq(texts[first : first + shape[0], None], texts[columns], out=mask)
            similarity.masked_fill_(mask, -torch.inf)
        yield Tile(columns, partners, similarity, spare)


def log_sums(
    anchors: torch.Tensor,
    others: torch.Tensor,
    temperature: torch.Tensor,
    *,
    own: slice,
    texts: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes log-sum-exp over all negatives, and the similarity of the positive, of each of this process's anchors.

    The arguments are those of :func:`iterate_tiles`; both results are float64 [b]. The sum of an anchor without
    negatives is -inf.
    """
    sums = torch.empty(len(anchors), dtype=torch.float64, device=anchors.device)
    positives = torch.empty_like(sums)
    for rows, scaled, tiles in iterate_tiles(anchors, others, temperature, own=own, texts=texts):
        row_sums = scaled.new_full((len(scaled),), -torch.inf)
        for tile in tiles:
            row_sums = torch.logaddexp(row_sums, tile.similarity.logsumexp(dim=1))
        inside, mine = own_part(rows, own)
        sums[mine] = row_sums[inside]
        positives[mine] = row_products(scaled, others[rows].double())[inside]
    return sums, positives


def repulsion(tile: Tile, row_denominators: torch.Tensor, column_denominators: torch.Tensor) -> torch.Tensor:
    """Computes the gradient B dL/dS [r, c] for the negatives of a tile; 0 for the positives. Overwrites the tile.

    Args:
        row_denominators: [r], logarithms of the denominators of the tile's rows.
        column_denominators: [c], logarithms of the denominators of the tile's columns.
    """
    torch.sub(tile.similarity, row_denominators[:, None], out=tile.spare).exp_()
    return tile.spare.add_(tile.similarity.sub_(column_denominators).exp_())


def row_products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Computes the scalar product of each pair of rows, [n, d] and [n, d] to [n]."""
    return torch.einsum("nd,nd->n", one, other)


def autocast_disabled(rows: torch.Tensor) -> torch.autocast:
    """Returns a context in which autocast is disabled on the device of ``rows``."""
    return torch.autocast(rows.device.type, enabled=False)
