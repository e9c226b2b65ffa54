"""MuLan's loss: batch-wise contrastive multiview coding (MuLan §3.1; Tian et al. 2020), exact, in tiles.

    L = 1/B  sum_i  -log  h(a_i, t_i) / sum_{j != i} [ h(a_i, t_j) + h(a_j, t_i) ],   h(a, t) = exp(a . t / temperature)

The positive is not in the denominator, and one logarithm spans the negatives of both directions. When all similarities
are equal the loss is ln(2 (B - 1)).

With S_ij = a_i . t_j / temperature and n_i the logarithm of the denominator of pair i, L = 1/B sum_i (n_i - S_ii) and

    dL / dS_ij  =  1/B [ exp(S_ij - n_i) + exp(S_ij - n_j) ]  for j != i,      dL / dS_ii  =  -1/B

Each denominator has S_ij as one of its terms, so no exponent is positive and nothing overflows. S is computed in tiles,
once for n and again for the gradient, and is never whole. Once the n of all pairs are known, a process has the whole
gradient of its own rows from its own tiles: the backward pass communicates one number of each pair, for the gradient of
the temperature.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from mulan.distributed.collectives import all_gather, rank_and_world_size
from mulan.objectives.tiles import autocast_disabled, covering, log_sums, products, push, rows_of_tiles


def contrastive_loss(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """The loss of the global batch, of which each of W processes holds [B / W, d] consecutive rows.

    Each process computes the tiles that rows and columns of its own pairs are in, and holds the embeddings of all. The
    value is the global loss on every process, and so is the gradient of each argument. Memory beyond embeddings and
    gradients is a few tiles, whatever B is.

    Args:
        audio: [B / W, d] unit rows; row i belongs with row i of ``text``. B is at least 2, and as many on each process.
        text: [B / W, d] unit rows.
        temperature: in (0, 1]; a scalar.

    Returns:
        A scalar, in float32 at least.

    Example:
        >>> rows = torch.eye(4)
        >>> contrastive_loss(rows, rows, 0.5)  # ln(2 * 3) - 1 / 0.5
        tensor(-0.2082)
    """
    dtype = torch.promote_types(audio.dtype, torch.float32)
    audio, text = audio.to(dtype), text.to(dtype)
    # filled on the device: a copy from the host would wait for it
    warmth = temperature.to(audio) if isinstance(temperature, torch.Tensor) else audio.new_full((), temperature)
    with autocast_disabled(audio):
        return _Contrastive.apply(audio, text, warmth)  # type: ignore[no-any-return, no-untyped-call]


class _Contrastive(torch.autograd.Function):
    """Two rectangles: this process's audio against all texts, and its texts against all audio."""

    @staticmethod
    def forward(ctx: Any, audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        all_audio, all_text, first = all_gather(audio), all_gather(text), rank_and_world_size()[0] * len(audio)
        assert len(all_audio) >= 2, "a contrastive loss needs a negative"
        own = slice(first, first + len(audio))
        row, positives = log_sums(all_audio, all_text, temperature, own=own)
        column, _ = log_sums(all_text, all_audio, temperature, own=own)
        negatives = torch.logaddexp(row, column)
        all_negatives, all_losses = all_gather(torch.stack((negatives, negatives - positives), dim=1)).unbind(dim=1)
        ctx.save_for_backward(all_audio, all_text, temperature, all_negatives)
        ctx.own = own
        return all_losses.mean().to(audio.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor) -> tuple[torch.Tensor, ...]:
        all_audio, all_text, temperature, negatives = ctx.saved_tensors
        of_pair = of_loss.double() / len(all_audio)
        with autocast_disabled(all_audio):
            of_audio, of_temperature = _gradient(all_audio, all_text, temperature, negatives, of_pair, own=ctx.own)
            of_text, _ = _gradient(all_text, all_audio, temperature, negatives, of_pair, own=ctx.own)
        # those of all pairs in order, so that their sum has the same bits on any number of processes
        return of_audio, of_text, all_gather(of_temperature).sum().to(temperature.dtype)


def _gradient(
    all_anchors: torch.Tensor,
    others: torch.Tensor,
    temperature: torch.Tensor,
    negatives: torch.Tensor,
    of_pair: torch.Tensor,
    *,
    own: slice,
) -> tuple[torch.Tensor, torch.Tensor]:
    """[b, d]: the gradient of this process's anchors; and [b] float64: what each adds to the temperature's.

    The loss depends on the temperature as on a common factor 1 / temperature of the anchors, so its gradient is read
    off theirs.

    Args:
        all_anchors: [B, d].
        others: [B, d].
        negatives: [B] logarithms of denominators.
        of_pair: the gradient of the loss of a pair; a scalar.
        own: which of the anchors are this process's.
    """
    covered = covering(own, len(all_anchors))
    gradient, of_temperature = torch.empty_like(all_anchors[covered]), torch.empty_like(negatives[covered])
    for rows, scaled, tiles in rows_of_tiles(all_anchors, others, temperature, own=own):
        of_anchors = -others[rows].double()  # what the positives pull
        for tile in tiles:
            of_anchors.addmm_(push(tile, negatives[rows], negatives[tile.columns]), tile.partners)
        place = slice(rows.start - covered.start, rows.stop - covered.start)
        gradient[place] = of_anchors.mul_(of_pair / temperature)
        of_temperature[place] = products(scaled, of_anchors).neg_()
    mine = slice(own.start - covered.start, own.stop - covered.start)
    return gradient[mine], of_temperature[mine]
