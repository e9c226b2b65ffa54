"""Similarities of some rows to all rows of the global batch, in tiles, so that no whole matrix is ever held.

Tiles are those of the global batch, whichever process needs them: one that has a part of the rows of a tile computes
all of them. Kernels may add in another order for matrices of another shape, or at another place in a matrix. Of the
same tile every row has the same bits.

Tiles are float64, whatever the embeddings are. Dividing by the temperature magnifies rounding, and the normalisation of
the embeddings then takes away most of their gradient but not its error: in float32 the first step of a small model
would differ by parts in a million between one process and two. The towers take far longer than the loss in either.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

TILE = 512
"""Rows and columns of a tile at most: 2 MiB, of which three are alive at a time.

Larger ones make fewer calls, smaller ones stay in the processor's caches and take less memory than the gradients do.
"""


class Tile(NamedTuple):
    """Similarities of r anchors to c others, in float64."""

    columns: slice
    """The others."""
    partners: torch.Tensor
    """[c, d]: themselves."""
    similarity: torch.Tensor
    """[r, c], over the temperature; -inf where an anchor meets its own partner, or itself. It may be overwritten."""
    spare: torch.Tensor
    """[r, c]: as much memory again, with anything in it."""


def covering(own: slice, count: int) -> slice:
    """Returns the rows of all tiles that contain some of a process's own rows, where the global batch has ``count``.

    Example:
        >>> covering(slice(600, 700), 2000)
        slice(512, 1024, None)
    """
    return slice(own.start // TILE * TILE, min(-(-own.stop // TILE) * TILE, count))


def rows_of_tiles(
    anchors: torch.Tensor, others: torch.Tensor, temperature: torch.Tensor, *, own: slice
) -> Iterator[tuple[slice, torch.Tensor, Iterator[Tile]]]:
    """The tiles of [B, d] anchors against [B, d] others that have some of the own anchors; partners have one number.

    They come row by row. With each row of tiles come its anchors: which they are, and [r, d] float64 over the
    temperature. All tiles lie in the same memory. If each had its own, small tensors made in between would keep what is
    freed in pieces, and the process would grow from tile to tile.
    """
    rows = covering(own, len(anchors))
    memory = torch.empty(2, min(TILE, len(anchors)) ** 2, dtype=torch.float64, device=anchors.device)
    for row in range(rows.start, rows.stop, TILE):
        of_tile = slice(row, min(row + TILE, rows.stop))
        scaled = anchors[of_tile].double() / temperature
        yield of_tile, scaled, _tiles(scaled, others, memory, first=row)


def _tiles(scaled: torch.Tensor, others: torch.Tensor, memory: torch.Tensor, *, first: int) -> Iterator[Tile]:
    """A row of tiles."""
    for column in range(0, len(others), TILE):
        columns = slice(column, column + TILE)
        partners = others[columns].double()
        shape = (len(scaled), len(partners))
        similarity, spare = (part[: math.prod(shape)].view(shape) for part in memory)
        torch.mm(scaled, partners.T, out=similarity)
        similarity.diagonal(first - column).fill_(-torch.inf)  # empty where it does not cross the tile
        yield Tile(columns, partners, similarity, spare)


def log_sums(
    anchors: torch.Tensor, others: torch.Tensor, temperature: torch.Tensor, *, own: slice
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns of each own anchor the logarithm of the sum over others but its partner, and its partner's similarity.

    Both are float64 [b]. The arguments are those of :func:`rows_of_tiles`.
    """
    sums = torch.full((len(anchors),), -torch.inf, dtype=torch.float64, device=anchors.device)
    positives = torch.empty_like(sums)
    for rows, scaled, tiles in rows_of_tiles(anchors, others, temperature, own=own):
        for tile in tiles:
            sums[rows] = torch.logaddexp(sums[rows], tile.similarity.logsumexp(dim=1))
        positives[rows] = products(scaled, others[rows].double())
    return sums[own], positives[own]


def push(tile: Tile, of_rows: torch.Tensor, of_columns: torch.Tensor) -> torch.Tensor:
    """[r, c]: how strongly negatives push each other apart, B dL/dS; 0 for partners. The tile is overwritten.

    Args:
        of_rows: [r] logarithms of the denominators of the tile's rows.
        of_columns: [c] likewise.
    """
    torch.sub(tile.similarity, of_rows[:, None], out=tile.spare).exp_()
    return tile.spare.add_(tile.similarity.sub_(of_columns).exp_())


def products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """[n]: scalar products of rows."""
    return torch.einsum("nd,nd->n", one, other)


def autocast_disabled(rows: torch.Tensor) -> torch.autocast:
    """A context in which products are of the rows' own type, even where training computes in less."""
    return torch.autocast(rows.device.type, enabled=False)
