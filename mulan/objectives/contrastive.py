"""Losses that contrast each pair with its negatives by a softmax: MuLan's, CLIP's and the decoupled one, in tiles.

With S_ij = a_i . t_j / temperature, all three are L = 1/B sum_i l_i over B pairs:

    MuLan      l_i  =  log sum_{j != i} [ exp(S_ij) + exp(S_ji) ]  -  S_ii
    CLIP       l_i  =  1/2 log sum_j exp(S_ij)  +  1/2 log sum_j exp(S_ji)  -  S_ii
    decoupled  l_i  =  1/2 log sum_{j != i} exp(S_ij)  +  1/2 log sum_{j != i} exp(S_ji)  -  S_ii

MuLan's is batch-wise contrastive multiview coding (MuLan §3.1; Tian et al. 2020): the denominator does not contain the
positive, and one logarithm covers the negatives of both directions. CLIP's is the symmetric InfoNCE (Radford et al.
2021, figure 3). The decoupled one leaves the positive out of both denominators (Yeh et al. 2022); public MuLan code,
musiclm-pytorch and MuQ-MuLan, trains it. If all similarities are equal, they are ln(2 (B - 1)), ln B and ln(B - 1).

With D_i the logarithm of the denominator of audio i and E_j that of text j (for MuLan's both are the same; for the
others, ln 2 is added to them for the factor 1/2),

    B dL / dS_ij  =  exp(S_ij - D_i) + exp(S_ij - E_j)  for j != i

S_ij is a term of both denominators, so no exponent is positive and nothing overflows. S is computed in tiles, once for
the denominators and again for the gradient (:mod:`mulan.objectives.pairs`); the whole matrix is never in memory.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from mulan.distributed.collectives import all_gather
from mulan.objectives.pairs import Pairs, gradients, in_one_dtype, pairs_of_process
from mulan.objectives.tiles import Tile, autocast_disabled, log_sums, repulsion


def contrastive_loss(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float, texts: torch.Tensor | None = None
) -> torch.Tensor:
    """Computes MuLan's loss of the global batch, of which each of W processes holds B / W consecutive rows.

    Each process computes the tiles that contain rows or columns of its own pairs. Value and gradients are those of the
    global loss on every process. Besides its embeddings and their gradients, a process needs memory for all embeddings
    of one modality at a time, [B, d], if there are several, and for a few tiles, independent of B.

    Args:
        audio: [B / W, d], unit rows; row i is paired with row i of ``text``. B must be at least 2, and B / W equal on
            all processes.
        text: [B / W, d], unit rows.
        temperature: Scalar in (0, 1].
        texts: Integer ids of the texts, int64 [B / W]: pairs with equal ids are no negatives of each other. A pair
            without negatives, which is one of a batch with a single text, has loss and gradient 0. None if all pairs
            are negatives of each other.

    Returns:
        The loss, a scalar of dtype float32 or wider.

    Example:
        >>> rows = torch.eye(4)
        >>> contrastive_loss(rows, rows, 0.5)  # ln(2 * 3) - 1 / 0.5
        tensor(-0.2082)
    """
    return _loss(_mulan_terms, audio, text, temperature, texts)


def clip_loss(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float, texts: torch.Tensor | None = None
) -> torch.Tensor:
    """Computes the symmetric InfoNCE of CLIP; see :func:`contrastive_loss`.

    Example:
        >>> rows = torch.eye(4)
        >>> clip_loss(rows, rows, 0.5)  # ln(exp(1 / 0.5) + 3) - 1 / 0.5
        tensor(0.3408)
    """
    return _loss(_clip_terms, audio, text, temperature, texts)


def decoupled_loss(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float, texts: torch.Tensor | None = None
) -> torch.Tensor:
    """Computes the decoupled contrastive loss, the mean of both directions; see :func:`contrastive_loss`.

    Example:
        >>> rows = torch.eye(4)
        >>> decoupled_loss(rows, rows, 0.5)  # ln(3) - 1 / 0.5
        tensor(-0.9014)
    """
    return _loss(_decoupled_terms, audio, text, temperature, texts)


class _Terms(NamedTuple):
    """What a loss computes for each of b pairs, float64 [b]."""

    losses: torch.Tensor
    """The loss l_i of the pair."""
    attraction: torch.Tensor
    """A_i = -B dL/dS_ii."""
    audio_denominators: torch.Tensor
    """D_i, the logarithm of the audio's denominator."""
    text_denominators: torch.Tensor
    """E_i, the logarithm of the text's denominator."""


Form = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], _Terms]
"""Computes the terms of b pairs from the logarithms of the sums over the negatives of each audio and of each text, and
the similarities of the pairs, all float64 [b]."""


def _mulan_terms(row: torch.Tensor, column: torch.Tensor, positives: torch.Tensor) -> _Terms:
    negatives = torch.logaddexp(row, column)
    return _Terms(negatives - positives, torch.ones_like(positives), negatives, negatives)


def _clip_terms(row: torch.Tensor, column: torch.Tensor, positives: torch.Tensor) -> _Terms:
    # log(exp(S_ii) + negatives) - S_ii = log(1 + negatives / exp(S_ii)), which keeps its precision near 0
    row_loss, column_loss = (torch.logaddexp(one - positives, torch.zeros_like(one)) for one in (row, column))
    attraction = (torch.sigmoid(row - positives) + torch.sigmoid(column - positives)) / 2
    denominators = (torch.logaddexp(one, positives) + math.log(2) for one in (row, column))
    return _Terms((row_loss + column_loss) / 2, attraction, *denominators)


def _decoupled_terms(row: torch.Tensor, column: torch.Tensor, positives: torch.Tensor) -> _Terms:
    losses = (row + column) / 2 - positives
    return _Terms(losses, torch.ones_like(positives), row + math.log(2), column + math.log(2))


def _loss(
    form: Form,
    audio: torch.Tensor,
    text: torch.Tensor,
    temperature: torch.Tensor | float,
    texts: torch.Tensor | None,
) -> torch.Tensor:
    audio, text, temperature = in_one_dtype(audio, text, temperature)
    with autocast_disabled(audio):
        return _Contrastive.apply(audio, text, temperature, texts, form)  # type: ignore[no-any-return, no-untyped-call]


class _Contrastive(torch.autograd.Function):
    """Compares this process's audio with all texts, and its texts with all audio."""

    @staticmethod
    def forward(
        ctx: Any,
        audio: torch.Tensor,
        text: torch.Tensor,
        temperature: torch.Tensor,
        texts: torch.Tensor | None,
        form: Form,
    ) -> torch.Tensor:
        pairs = pairs_of_process(audio, text, temperature, texts)
        row, positives = log_sums(audio, all_gather(text), temperature, own=pairs.own, texts=pairs.texts)
        column, _ = log_sums(text, all_gather(audio), temperature, own=pairs.own, texts=pairs.texts)
        terms = form(row, column, positives)
        if texts is not None:
            terms = _without_lone_pairs(terms, row)
        losses, *saved = all_gather(torch.stack(terms, dim=1)).unbind(dim=1)
        ctx.save_for_backward(audio, text, temperature, pairs.texts, *saved)
        ctx.own = pairs.own
        return losses.mean().to(audio.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        audio, text, temperature, texts, attraction, audio_denominators, text_denominators = ctx.saved_tensors

        def by_audio(tile: Tile, rows: slice) -> torch.Tensor:
            return repulsion(tile, audio_denominators[rows], text_denominators[tile.columns])

        def by_text(tile: Tile, rows: slice) -> torch.Tensor:
            return repulsion(tile, text_denominators[rows], audio_denominators[tile.columns])

        pairs, grad_pair = Pairs(audio, text, temperature, texts, ctx.own), grad_output.double() / len(attraction)
        return *gradients(pairs, by_audio, by_text, attraction, grad_pair), None, None


def _without_lone_pairs(terms: _Terms, row: torch.Tensor) -> _Terms:
    """Returns the terms with loss and gradient 0 for pairs without negatives.

    A pair has none only if all texts of the batch are equal; then no pair has any.
    """
    alone = row == -torch.inf
    losses, attraction = (one.masked_fill(alone, 0) for one in terms[:2])
    denominators = (one.masked_fill(alone, torch.inf) for one in terms[2:])  # exp(-inf - inf) = 0
    return _Terms(losses, attraction, *denominators)
