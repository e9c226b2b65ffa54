"""MuLan's loss: batch-wise contrastive multiview coding (MuLan §3.1; Tian et al. 2020), exact, in tiles.

    L = 1/B  sum_i  -log  h(a_i, t_i) / sum_{j != i} [ h(a_i, t_j) + h(a_j, t_i) ],   h(a, t) = exp(a . t / temperature)

The positive is not in the denominator, and one logarithm spans the negatives of both directions. When all similarities
are equal the loss is ln(2 (B - 1)).

With S_ij = a_i . t_j / temperature and n_i the logarithm of the denominator of pair i, L = 1/B sum_i (n_i - S_ii) and

    dL / dS_ij  =  1/B [ exp(S_ij - n_i) + exp(S_ij - n_j) ]  for j != i,      dL / dS_ii  =  -1/B

Each denominator has S_ij as one of its terms, so no exponent is positive and nothing overflows. S is computed in tiles,
once for n and again for the gradient, and is never whole. Once the n of all pairs are known, a process has the whole
gradient of its own rows from its own tiles: the backward pass communicates nothing.

Tiles are float64, whatever the embeddings are. Dividing by the temperature magnifies rounding, and the normalisation of
the embeddings then takes away most of their gradient but not its error: in float32 the first step of a small model
would differ by parts in a million between one process and two. The towers take far longer than the loss in either.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from mulan.objectives.collectives import gather, world

TILE = 512
"""Rows and columns of a tile at most: 2 MiB, of which three are alive at a time.

Larger ones make fewer calls, smaller ones stay in the processor's caches and take less memory than the gradients do.
"""


def contrastive_loss(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """The loss of the global batch, of which each of W processes holds [B / W, d] consecutive rows.

    Each process computes the rows and columns of its own pairs, and holds the embeddings of all. The value is the
    global loss on every process; the gradient of ``audio`` and ``text`` is that of the global loss; the gradients of
    ``temperature`` must be summed over the processes. Memory beyond embeddings and gradients is a few tiles, whatever
    B is.

    Args:
        audio: [B / W, d] unit rows; row i belongs with row i of ``text``. B is at least 2, and as many on each process.
        text: [B / W, d] unit rows.
        temperature: in (0, 1]; a scalar.

    Returns:
        A scalar, in float32 at least.
    """
    dtype = torch.promote_types(audio.dtype, torch.float32)
    audio, text = audio.to(dtype), text.to(dtype)
    # filled on the device: a copy from the host would wait for it
    warmth = temperature.to(audio) if isinstance(temperature, torch.Tensor) else audio.new_full((), temperature)
    with _as_they_are(audio):
        return _Contrastive.apply(audio, text, warmth)  # type: ignore[no-any-return, no-untyped-call]


class _Contrastive(torch.autograd.Function):
    """Two rectangles: this process's audio against all texts, and its texts against all audio."""

    @staticmethod
    def forward(ctx: Any, audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        all_audio, all_text, first = gather(audio), gather(text), world()[0] * len(audio)
        assert len(all_audio) >= 2, "a contrastive loss needs a negative"
        row, positives = _log_sums(audio, all_text, temperature, first=first)
        column, _ = _log_sums(text, all_audio, temperature, first=first)
        negatives = torch.logaddexp(row, column)
        all_negatives, all_losses = gather(torch.stack((negatives, negatives - positives), dim=1)).unbind(dim=1)
        ctx.save_for_backward(all_audio, all_text, temperature, all_negatives)
        ctx.own = slice(first, first + len(audio))
        return all_losses.mean().to(audio.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        all_audio, all_text, temperature, negatives = ctx.saved_tensors
        of_pair = of_loss.double() / len(all_audio)
        with _as_they_are(all_audio):
            of_audio, of_temperature = _gradient(all_audio, all_text, temperature, negatives, of_pair, own=ctx.own)
            of_text, _ = _gradient(all_text, all_audio, temperature, negatives, of_pair, own=ctx.own)
        return of_audio, of_text, of_temperature


class _Tile(NamedTuple):
    """Similarities of r anchors to c others, in float64."""

    columns: slice
    """The others."""
    partners: torch.Tensor
    """[c, d]: themselves."""
    similarity: torch.Tensor
    """[r, c], over the temperature; -inf where an anchor meets its own partner. It may be overwritten."""
    spare: torch.Tensor
    """[r, c]: as much memory again, with anything in it."""


def _rows_of_tiles(
    anchors: torch.Tensor, others: torch.Tensor, temperature: torch.Tensor, *, first: int
) -> Iterator[tuple[slice, torch.Tensor, Iterator[_Tile]]]:
    """All tiles of [b, d] anchors, which are pairs ``first`` and following, against [B, d] others, row by row.

    With each row of tiles come its anchors: which they are, and [r, d] float64 over the temperature. All tiles lie in
    the same memory. If each had its own, small tensors made in between would keep what is freed in pieces, and the
    process would grow from tile to tile.
    """
    size = min(TILE, len(anchors)) * min(TILE, len(others))
    memory = torch.empty(2, size, dtype=torch.float64, device=anchors.device)
    for row in range(0, len(anchors), TILE):
        rows = slice(row, min(row + TILE, len(anchors)))
        scaled = anchors[rows].double() / temperature
        yield rows, scaled, _tiles(scaled, others, memory, first=first + row)


def _tiles(scaled: torch.Tensor, others: torch.Tensor, memory: torch.Tensor, *, first: int) -> Iterator[_Tile]:
    """A row of tiles."""
    for column in range(0, len(others), TILE):
        columns = slice(column, column + TILE)
        partners = others[columns].double()
        shape = (len(scaled), len(partners))
        similarity, spare = (part[: math.prod(shape)].view(shape) for part in memory)
        torch.mm(scaled, partners.T, out=similarity)
        similarity.diagonal(first - column).fill_(-torch.inf)  # empty where it does not cross the tile
        yield _Tile(columns, partners, similarity, spare)


def _log_sums(
    anchors: torch.Tensor, others: torch.Tensor, temperature: torch.Tensor, *, first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each anchor the logarithm of the sum over all others but its partner, and its partner's similarity; [b] twice.

    Both are float64.
    """
    sums = torch.full((len(anchors),), -torch.inf, dtype=torch.float64, device=anchors.device)
    positives = torch.empty_like(sums)
    for rows, scaled, tiles in _rows_of_tiles(anchors, others, temperature, first=first):
        for tile in tiles:
            sums[rows] = torch.logaddexp(sums[rows], tile.similarity.logsumexp(dim=1))
        positives[rows] = _products(scaled, others[first:][rows].double())
    return sums, positives


def _gradient(
    all_anchors: torch.Tensor,
    others: torch.Tensor,
    temperature: torch.Tensor,
    negatives: torch.Tensor,
    of_pair: torch.Tensor,
    *,
    own: slice,
) -> tuple[torch.Tensor, torch.Tensor]:
    """[b, d]: the gradient of this process's anchors, and what they add to the temperature's.

    The loss depends on the temperature as on a common factor 1 / temperature of the anchors, so its gradient is read
    off theirs.

    Args:
        all_anchors: [B, d].
        others: [B, d].
        negatives: [B] logarithms of denominators.
        of_pair: the gradient of the loss of a pair; a scalar.
        own: which of the anchors are this process's.
    """
    anchors, partners, of_rows = all_anchors[own], others[own], negatives[own]
    gradient, of_temperature = torch.empty_like(anchors), torch.zeros_like(of_pair)
    for rows, scaled, tiles in _rows_of_tiles(anchors, others, temperature, first=own.start):
        of_anchors = -partners[rows].double()  # what the positives pull
        for tile in tiles:
            of_anchors.addmm_(_push(tile, of_rows[rows], negatives[tile.columns]), tile.partners)
        gradient[rows] = of_anchors.mul_(of_pair / temperature)
        of_temperature -= _products(scaled, of_anchors).sum()
    return gradient, of_temperature.to(temperature.dtype)


def _push(tile: _Tile, of_rows: torch.Tensor, of_columns: torch.Tensor) -> torch.Tensor:
    """[r, c]: how strongly negatives push each other apart, B dL/dS; 0 for partners. The tile is overwritten.

    Args:
        of_rows: [r] logarithms of the denominators of the tile's rows.
        of_columns: [c] likewise.
    """
    torch.sub(tile.similarity, of_rows[:, None], out=tile.spare).exp_()
    return tile.spare.add_(tile.similarity.sub_(of_columns).exp_())


def _products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """[n]: scalar products of rows."""
    return torch.einsum("nd,nd->n", one, other)


def _as_they_are(rows: torch.Tensor) -> torch.autocast:
    """A context in which products are of the rows' own type, even where training computes in less."""
    return torch.autocast(rows.device.type, enabled=False)
