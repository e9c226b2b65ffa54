"""The sigmoid loss of SigLIP (Zhai et al. 2023, §3.2): every pair of the batch is classified by itself, in tiles.

    L  =  -1/B  sum_i sum_j  log sigmoid(z_ij (S_ij + bias)),      S_ij = a_i . t_j / temperature

z_ij is 1 for the pairs i = j, and -1 for all others. As in the paper, the sum over B^2 pairs is divided by B. The
learnable bias starts at -10, so that the many negatives do not dominate the first steps. The paper learns the logarithm
of 1 / temperature, from ln 10.

    B dL / dS_ij  =  sigmoid(S_ij + bias)  for j != i,      B dL / dS_ii  =  -sigmoid(-S_ii - bias)

and the gradient of the bias is the sum of all of them. No exponential overflows. S is computed in tiles, once for the
value and the gradient of the bias, and again for that of the embeddings (:mod:`mulan.objectives.pairs`).
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from mulan.distributed.collectives import all_gather
from mulan.objectives.pairs import Pairs, gradients, in_one_dtype, pairs_of_process
from mulan.objectives.tiles import Tile, autocast_disabled, iterate_tiles, own_part, row_products


def siglip_loss(
    audio: torch.Tensor,
    text: torch.Tensor,
    temperature: torch.Tensor | float,
    bias: torch.Tensor | float,
    texts: torch.Tensor | None = None,
) -> torch.Tensor:
    """Computes the loss of the global batch, of which each of W processes holds B / W consecutive rows.

    See :func:`mulan.objectives.contrastive.contrastive_loss`, whose memory and exactness it has. A pair without
    negatives keeps its own term.

    Args:
        bias: Scalar that is added to the similarities after their division by the temperature.
        texts: Integer ids of the texts, int64 [B / W]: pairs i != j with equal ids are left out of the sum. None if
            there are none to be left out.

    Example:
        >>> rows = torch.eye(2)
        >>> siglip_loss(rows, rows, 0.5, -1.0)  # ln(1 + exp(1 - 1 / 0.5)) + ln(1 + exp(-1))
        tensor(0.6265)
    """
    audio, text, temperature, bias = in_one_dtype(audio, text, temperature, bias)
    with autocast_disabled(audio):
        return _SigLip.apply(audio, text, temperature, bias, texts)  # type: ignore[no-any-return, no-untyped-call]


class _SigLip(torch.autograd.Function):
    """Compares this process's audio with all texts and, for the gradient, its texts with all audio."""

    @staticmethod
    def forward(
        ctx: Any,
        audio: torch.Tensor,
        text: torch.Tensor,
        temperature: torch.Tensor,
        bias: torch.Tensor,
        texts: torch.Tensor | None,
    ) -> torch.Tensor:
        pairs = pairs_of_process(audio, text, temperature, texts)
        terms = all_gather(_terms(pairs, all_gather(text), bias))
        losses, attraction, grad_bias = terms.unbind(dim=1)
        ctx.save_for_backward(audio, text, temperature, pairs.texts, bias, attraction, grad_bias)
        ctx.own = pairs.own
        return losses.mean().to(audio.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        audio, text, temperature, texts, bias, attraction, grad_bias = ctx.saved_tensors

        def repulsion(tile: Tile, _: slice) -> torch.Tensor:
            return torch.sigmoid(tile.similarity.add_(bias), out=tile.spare)

        pairs, grad_pair = Pairs(audio, text, temperature, texts, ctx.own), grad_output.double() / len(attraction)
        of_inputs = gradients(pairs, repulsion, repulsion, attraction, grad_pair)
        return *of_inputs, (grad_bias.sum() * grad_pair).to(bias.dtype), None


def _terms(pairs: Pairs, partners: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Computes for each audio i of this process the terms of its row, float64 [b, 3].

    Args:
        partners: Embeddings of the texts of all processes, [B, d].

    Returns:
        The sum of -log sigmoid, the attraction sigmoid(-S_ii - bias), and the sum of the gradients of the similarities.
    """
    terms = torch.empty(len(pairs.audio), 3, dtype=torch.float64, device=pairs.audio.device)
    zero, anchors, temperature = terms.new_zeros(()), pairs.audio, pairs.temperature
    for rows, scaled, tiles in iterate_tiles(anchors, partners, temperature, own=pairs.own, texts=pairs.texts):
        positives = row_products(scaled, partners[rows].double()).add_(bias)
        losses, attraction = torch.logaddexp(-positives, zero), torch.sigmoid(-positives)
        grad_bias = -attraction
        for tile in tiles:
            logits = tile.similarity.add_(bias)
            losses.add_(torch.logaddexp(logits, zero, out=tile.spare).sum(dim=1))
            grad_bias.add_(torch.sigmoid(logits, out=tile.spare).sum(dim=1))
        inside, mine = own_part(rows, pairs.own)
        terms[mine] = torch.stack((losses, attraction, grad_bias), dim=1)[inside]
    return terms
