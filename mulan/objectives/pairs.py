"""The audio-text pairs of the global batch, and the gradient of a loss of their similarities, computed in tiles.

With S_ij = a_i . t_j / temperature, a loss L of B pairs is described by what it does to a similarity: R_ij, the
repulsion of negatives, and A_i, the attraction of the pair i,

    B dL / dS_ij  =  R_ij  for j != i,      B dL / dS_ii  =  -A_i

from which the gradients of embeddings and temperature follow, since S depends on the temperature only as a factor:

    B temperature dL / da_i  =  sum_{j != i} R_ij t_j  -  A_i t_i
    temperature dL / dtemperature  =  -sum_i a_i . dL / da_i

and likewise for the texts. Once the values of all pairs that R and A depend on are known, each process computes the
complete gradient of its own rows from its own tiles and the partners of all processes. Those are gathered whenever they
are needed, of one modality at a time: both together would need more memory than the gradients. Equal texts are no
negatives of each other if their ids are given: S_ij is then -inf, in no denominator, and R_ij 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from mulan.distributed.collectives import all_gather, rank_and_world_size
from mulan.objectives.tiles import Tile, autocast_disabled, iterate_tiles, own_part, row_products

Repulsion = Callable[[Tile, slice], torch.Tensor]
"""Computes R [r, c] of a tile, given the rows of its anchors in the global batch; 0 where the similarity is -inf. May
overwrite the tile."""


class Pairs(NamedTuple):
    """The pairs of a process, b of B in the global batch."""

    audio: torch.Tensor
    """Embeddings of the audio, [b, d]."""
    text: torch.Tensor
    """Embeddings of the texts, [b, d]."""
    temperature: torch.Tensor
    """Scalar that divides the similarities."""
    texts: torch.Tensor | None
    """Integer ids of all texts of the global batch, int64 [B]; None if equal texts are negatives of each other."""
    own: slice
    """Rows of the process in the global batch."""

    def swapped(self) -> "Pairs":
        """Returns the same pairs with the texts as anchors."""
        return self._replace(audio=self.text, text=self.audio)


def pairs_of_process(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor, texts: torch.Tensor | None
) -> Pairs:
    """Returns this process's pairs, with the ids of the texts of all W processes. Collective.

    Args:
        audio: [B / W, d]; the number of rows is equal on all processes, and B at least 2.
        text: [B / W, d].
        texts: Ids of the texts, int64 [B / W], or None.
    """
    rank, workers = rank_and_world_size()
    assert workers * len(audio) >= 2, "a contrastive loss needs a negative"
    all_texts = None if texts is None else all_gather(texts)
    return Pairs(audio, text, temperature, all_texts, slice(rank * len(audio), (rank + 1) * len(audio)))


def in_one_dtype(audio: torch.Tensor, text: torch.Tensor, *scalars: torch.Tensor | float) -> tuple[torch.Tensor, ...]:
    """Converts embeddings to float32 or wider, and scalars to tensors of that dtype on the same device, in order."""
    dtype = torch.promote_types(audio.dtype, torch.float32)
    audio, text = audio.to(dtype), text.to(dtype)
    # a number is written on the device: a copy from the host would block
    tensors = (one.to(audio) if isinstance(one, torch.Tensor) else audio.new_full((), one) for one in scalars)
    return audio, text, *tensors


def gradients(
    pairs: Pairs,
    audio_repulsion: Repulsion,
    text_repulsion: Repulsion,
    attraction: torch.Tensor,
    grad_pair: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Computes the gradients of this process's embeddings, and that of the temperature. Collective.

    Args:
        audio_repulsion: R for tiles whose anchors are audio.
        text_repulsion: The transpose of R, for tiles whose anchors are texts.
        attraction: A, float64 [B].
        grad_pair: Gradient with respect to the loss of one pair, a float64 scalar.

    Returns:
        Gradients of the audio [b, d], of the texts [b, d], and of the temperature, which is the same on all processes.
    """
    with autocast_disabled(pairs.audio):
        grad_audio, grad_temperature = anchor_gradient(
            pairs, all_gather(pairs.text), audio_repulsion, attraction, grad_pair
        )
        grad_text, _ = anchor_gradient(pairs.swapped(), all_gather(pairs.audio), text_repulsion, attraction, grad_pair)
    # gathered and summed in the order of the pairs, so that the sum is bitwise equal on any number of processes
    return grad_audio, grad_text, all_gather(grad_temperature).sum().to(pairs.temperature.dtype)


def anchor_gradient(
    pairs: Pairs, partners: torch.Tensor, repulsion: Repulsion, attraction: torch.Tensor, grad_pair: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes the gradient of this process's audio, and each row's part of the gradient of the temperature.

    The other arguments are those of :func:`gradients`.

    Args:
        partners: Embeddings of the texts of all processes, [B, d].

    Returns:
        Gradients [b, d], and float64 [b].
    """
    anchors, _, temperature, texts, own = pairs
    gradient, grad_temperature = torch.empty_like(anchors), torch.empty_like(attraction[own])
    for rows, scaled, tiles in iterate_tiles(anchors, partners, temperature, own=own, texts=texts):
        grad_anchors = partners[rows].double() * -attraction[rows, None]
        for tile in tiles:
            grad_anchors.addmm_(repulsion(tile, rows), tile.partners)
        inside, mine = own_part(rows, own)
        gradient[mine] = grad_anchors.mul_(grad_pair / temperature)[inside]
        grad_temperature[mine] = row_products(scaled, grad_anchors).neg_()[inside]
    return gradient, grad_temperature
