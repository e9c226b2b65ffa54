"""MuLan's loss: batch-wise contrastive multiview coding (MuLan §3.1; Tian et al. 2020), exact, in tiles.

    L = 1/B  sum_i  -log  h(a_i, t_i) / sum_{j != i} [ h(a_i, t_j) + h(a_j, t_i) ],   h(a, t) = exp(a . t / temperature)

The positive is not in the denominator, and one logarithm spans the negatives of both directions. When all similarities
are equal the loss is ln(2 (B - 1)).

With S_ij = a_i . t_j / temperature and n_i the logarithm of the denominator of pair i, L = 1/B sum_i (n_i - S_ii) and

    dL / dS_ij  =  1/B [ exp(S_ij - n_i) + exp(S_ij - n_j) ]  for j != i,      dL / dS_ii  =  -1/B

Each denominator has S_ij as one of its terms, so no exponent is positive and nothing overflows. S is computed in tiles,
once for n and again for the gradient, and is never whole. Once the n of all pairs are known, a process has the whole
gradient of its own rows from its own tiles: the backward pass communicates nothing.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from mulan.objectives.collectives import gather, world

TILE = 1024
"""Rows and columns of a tile at most: 4 MiB in float32, of which three are alive at a time.

Larger ones make fewer calls, smaller ones stay in the processor's caches and take less memory than the gradients do. It
is a constant, so that the order of sums is the same on every machine.
"""


def contrastive_loss(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """The loss of a batch that lies in one process. Memory beyond the gradients is a few tiles, whatever B is.

    Args:
        audio: [B, d] unit rows; row i belongs with row i of ``text``. B is at least 2.
        text: [B, d] unit rows.
        temperature: in (0, 1]; a scalar.

    Returns:
        A scalar, in float32 at least.
    """
    return _apply(_InOneProcess, audio, text, temperature)


def sharded_contrastive_loss(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float
) -> torch.Tensor:
    """The same loss when each process holds [B / W, d] consecutive rows of the global batch.

    Each process computes the rows and columns of its own pairs, and holds the embeddings of all. The value is the
    global loss on every process; the gradient of ``audio`` and ``text`` is that of the global loss; the gradients of
    ``temperature`` must be summed over the processes.
    """
    # also for a single process: sums in the same order, whatever the number of processes
    return _apply(_AcrossProcesses, audio, text, temperature)


def _apply(
    form: type[torch.autograd.Function], audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float
) -> torch.Tensor:
    dtype = torch.promote_types(audio.dtype, torch.float32)  # bf16 similarities lose the small differences that matter
    audio, text = audio.to(dtype), text.to(dtype)
    # filled on the device: a copy from the host would wait for it
    warmth = temperature.to(audio) if isinstance(temperature, torch.Tensor) else audio.new_full((), temperature)
    with _as_they_are(audio):
        return form.apply(audio, text, warmth)  # type: ignore[no-untyped-call]


class _InOneProcess(torch.autograd.Function):
    """One tile serves both directions: it holds rows of some pairs and columns of others."""

    @staticmethod
    def forward(ctx: Any, audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        assert len(audio) >= 2, "a contrastive loss needs a negative"
        row, column = (audio.new_full((len(audio),), -torch.inf) for _ in range(2))
        for rows, columns, similarity, _ in _tiles(audio, text, temperature):
            row[rows] = torch.logaddexp(row[rows], similarity.logsumexp(dim=1))
            column[columns] = torch.logaddexp(column[columns], similarity.logsumexp(dim=0))
        negatives = torch.logaddexp(row, column)
        ctx.save_for_backward(audio, text, temperature, negatives)
        return (negatives - _products(audio, text) / temperature).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        audio, text, temperature, negatives = ctx.saved_tensors
        with _as_they_are(audio):
            of_audio, of_text = -text, -audio  # what the positives pull
            for tile in _tiles(audio, text, temperature):
                push = _push(tile, negatives[tile.rows], negatives[tile.columns])
                of_audio[tile.rows].addmm_(push, text[tile.columns])
                of_text[tile.columns].addmm_(push.T, audio[tile.rows])
            return _scaled(of_audio, of_text, audio, temperature, of_loss / len(audio))


class _AcrossProcesses(torch.autograd.Function):
    """Two rectangles: this process's audio against all texts, and its texts against all audio."""

    @staticmethod
    def forward(ctx: Any, audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        all_audio, all_text, first = gather(audio), gather(text), world()[0] * len(audio)
        row = _log_sums(audio, all_text, temperature, first=first)
        column = _log_sums(text, all_audio, temperature, first=first)
        negatives = torch.logaddexp(row, column)
        losses = negatives - _products(audio, text) / temperature
        all_negatives, all_losses = gather(torch.stack((negatives, losses), dim=1)).unbind(dim=1)
        ctx.save_for_backward(all_audio, all_text, temperature, all_negatives)
        ctx.own = slice(first, first + len(audio))
        return all_losses.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        all_audio, all_text, temperature, negatives = ctx.saved_tensors
        with _as_they_are(all_audio):
            of_audio = _gradient(all_audio, all_text, temperature, negatives, own=ctx.own)
            of_text = _gradient(all_text, all_audio, temperature, negatives, own=ctx.own)
            return _scaled(of_audio, of_text, all_audio[ctx.own], temperature, of_loss / len(all_audio))


class _Tile(NamedTuple):
    """Similarities of some anchors to some others."""

    rows: slice
    """The anchors."""
    columns: slice
    similarity: torch.Tensor
    """Over the temperature; -inf where an anchor meets its own partner. It may be overwritten."""
    spare: torch.Tensor
    """As much memory again, with anything in it."""


def _tiles(
    anchors: torch.Tensor, others: torch.Tensor, temperature: torch.Tensor, *, first: int = 0
) -> Iterator[_Tile]:
    """All tiles of [b, d] anchors, which are pairs ``first`` and following, against [B, d] others, in the same memory.

    If each had memory of its own, small tensors made in between would keep what is freed in pieces, and the process
    would grow from tile to tile.
    """
    memory = anchors.new_empty(2, min(TILE, len(anchors)) * min(TILE, len(others)))
    for row in range(0, len(anchors), TILE):
        scaled = anchors[row : row + TILE] / temperature
        for column in range(0, len(others), TILE):
            partners = others[column : column + TILE]
            shape = (len(scaled), len(partners))
            similarity, spare = (part[: math.prod(shape)].view(shape) for part in memory)
            torch.mm(scaled, partners.T, out=similarity)
            similarity.diagonal(first + row - column).fill_(-torch.inf)  # empty where it does not cross the tile
            yield _Tile(slice(row, row + TILE), slice(column, column + TILE), similarity, spare)


def _log_sums(anchors: torch.Tensor, others: torch.Tensor, temperature: torch.Tensor, *, first: int) -> torch.Tensor:
    """[b]: the logarithm of each anchor's sum over the others that are not its partner."""
    sums = anchors.new_full((len(anchors),), -torch.inf)
    for rows, _, similarity, _ in _tiles(anchors, others, temperature, first=first):
        sums[rows] = torch.logaddexp(sums[rows], similarity.logsumexp(dim=1))
    return sums


def _gradient(
    all_anchors: torch.Tensor, others: torch.Tensor, temperature: torch.Tensor, negatives: torch.Tensor, *, own: slice
) -> torch.Tensor:
    """[b, d]: the gradient of this process's anchors, before :func:`_scaled`; the rest are [B, d] and [B]."""
    gradient = -others[own]  # what the positives pull
    for tile in _tiles(all_anchors[own], others, temperature, first=own.start):
        push = _push(tile, negatives[own][tile.rows], negatives[tile.columns])
        gradient[tile.rows].addmm_(push, others[tile.columns])
    return gradient


def _push(tile: _Tile, of_rows: torch.Tensor, of_columns: torch.Tensor) -> torch.Tensor:
    """[r, c]: how strongly negatives push each other apart, B dL/dS; 0 for partners. The tile is overwritten.

    Args:
        of_rows: [r] logarithms of the denominators of the tile's rows.
        of_columns: [c] likewise.
    """
    torch.sub(tile.similarity, of_rows[:, None], out=tile.spare).exp_()
    return tile.spare.add_(tile.similarity.sub_(of_columns).exp_())


def _products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """[n]: scalar products of rows; (one * other).sum(dim=1) and vecdot first make another [n, d]."""
    return torch.einsum("nd,nd->n", one, other)


def _scaled(
    of_audio: torch.Tensor,
    of_text: torch.Tensor,
    audio: torch.Tensor,
    temperature: torch.Tensor,
    of_pair: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of audio, text and temperature; the first two arrive without the factor 1 / (B temperature).

    The loss depends on the temperature as on a common factor 1 / temperature of the audio rows, so its gradient is
    read off theirs.
    """
    of_audio.mul_(of_pair / temperature)
    of_text.mul_(of_pair / temperature)
    return of_audio, of_text, -_products(audio, of_audio).sum() / temperature


def _as_they_are(rows: torch.Tensor) -> torch.autocast:
    """A context in which products are of the rows' own type, even where training computes in less."""
    return torch.autocast(rows.device.type, enabled=False)
