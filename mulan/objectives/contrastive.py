"""MuLan's loss: batch-wise contrastive multiview coding (MuLan §3.1; Tian et al. 2020), computed exactly and in tiles.

    L = 1/B  sum_i  -log  h(a_i, t_i) / sum_{j != i} [ h(a_i, t_j) + h(a_j, t_i) ],   h(a, t) = exp(a . t / temperature)

The denominator does not contain the positive, and one logarithm covers the negatives of both directions. If all
similarities are equal, the loss is ln(2 (B - 1)).

With S_ij = a_i . t_j / temperature and n_i the logarithm of the denominator of pair i, L = 1/B sum_i (n_i - S_ii) and

    dL / dS_ij  =  1/B [ exp(S_ij - n_i) + exp(S_ij - n_j) ]  for j != i,      dL / dS_ii  =  -1/B

S_ij is a term of both denominators, so no exponent is positive and nothing overflows. S is computed in tiles, once for
n and again for the gradient; the whole matrix is never in memory. Once the n of all pairs are known, each process
computes the complete gradient of its own rows from its own tiles: the backward pass communicates only one value per
pair, for the gradient of the temperature.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from mulan.distributed.collectives import all_gather, rank_and_world_size
from mulan.objectives.tiles import (
    autocast_disabled,
    covering_rows,
    iterate_tiles,
    log_sums,
    repulsion,
    row_products,
)


def contrastive_loss(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """Computes the loss of the global batch, of which each of W processes holds B / W consecutive rows.

    Each process holds all embeddings and computes the tiles that contain rows or columns of its own pairs. Value and
    gradients are those of the global loss on every process. Besides embeddings and gradients, memory is needed for a
    few tiles only, independent of B.

    Args:
        audio: [B / W, d], unit rows; row i is paired with row i of ``text``. B must be at least 2, and B / W equal on
            all processes.
        text: [B / W, d], unit rows.
        temperature: Scalar in (0, 1].

    Returns:
        The loss, a scalar of dtype float32 or wider.

    Example:
        >>> rows = torch.eye(4)
        >>> contrastive_loss(rows, rows, 0.5)  # ln(2 * 3) - 1 / 0.5
        tensor(-0.2082)
    """
    dtype = torch.promote_types(audio.dtype, torch.float32)
    audio, text = audio.to(dtype), text.to(dtype)
    if not isinstance(temperature, torch.Tensor):
        temperature = audio.new_full((), temperature)  # on the device: a copy from the host would block
    with autocast_disabled(audio):
        return _Contrastive.apply(audio, text, temperature.to(audio))  # type: ignore[no-any-return, no-untyped-call]


class _Contrastive(torch.autograd.Function):
    """Compares this process's audio with all texts, and its texts with all audio."""

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
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, ...]:
        all_audio, all_text, temperature, negatives = ctx.saved_tensors
        grad_pair = grad_output.double() / len(all_audio)
        with autocast_disabled(all_audio):
            grad_audio, grad_temperature = _gradient(
                all_audio, all_text, temperature, negatives, grad_pair, own=ctx.own
            )
            grad_text, _ = _gradient(all_text, all_audio, temperature, negatives, grad_pair, own=ctx.own)
        # gathered and summed in the order of the pairs, so that the sum is bitwise equal on any number of processes
        return grad_audio, grad_text, all_gather(grad_temperature).sum().to(temperature.dtype)


def _gradient(
    all_anchors: torch.Tensor,
    others: torch.Tensor,
    temperature: torch.Tensor,
    negatives: torch.Tensor,
    grad_pair: torch.Tensor,
    *,
    own: slice,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes the gradient of this process's anchors, and each anchor's part of the gradient of the temperature.

    The loss depends on the temperature only through the factor 1 / temperature of the anchors, so the gradient of the
    temperature follows from theirs.

    Args:
        all_anchors: [B, d].
        others: [B, d].
        negatives: [B], logarithms of the denominators.
        grad_pair: Gradient with respect to the loss of one pair, a scalar.
        own: Rows of this process's anchors.

    Returns:
        Gradients [b, d], and float64 [b].
    """
    covered = covering_rows(own, len(all_anchors))
    gradient, grad_temperature = torch.empty_like(all_anchors[covered]), torch.empty_like(negatives[covered])
    for rows, scaled, tiles in iterate_tiles(all_anchors, others, temperature, own=own):
        grad_anchors = -others[rows].double()  # attraction of the positives
        for tile in tiles:
            grad_anchors.addmm_(repulsion(tile, negatives[rows], negatives[tile.columns]), tile.partners)
        target = slice(rows.start - covered.start, rows.stop - covered.start)
        gradient[target] = grad_anchors.mul_(grad_pair / temperature)
        grad_temperature[target] = row_products(scaled, grad_anchors).neg_()
    mine = slice(own.start - covered.start, own.stop - covered.start)
    return gradient[mine], grad_temperature[mine]
