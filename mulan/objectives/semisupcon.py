"""SemiSupCon's loss: supervised and self-supervised contrastive learning in one term (Guinot et al. 2024, equation 3).

    L = 1/N  sum_i  -1/R_i  sum_k  T_ik log [ exp(S_ik) / sum_{j != i} exp(S_ij) ],   R_i = sum_k T_ik

over the N views of all recordings, with S_ik = z_i . z_k / temperature. The target T_ik is 1 for two views of one
recording; for recordings that share at least ``min_shared_tags`` tags it is 1 or, with Dice weighting, the Dice
coefficient 2 |A and B| / (|A| + |B|) of their tags; otherwise, and for i = k, it is 0. The denominator includes the
positives. The views of a recording without tags are positives of each other and negatives of all others. With labels
only, this is the loss of Khosla et al. 2020; without any, that of Chen et al. 2020.

With n_i the logarithm of the denominator of anchor i, L = 1/N sum_i (n_i - 1/R_i sum_k T_ik S_ik), and since S and T
are symmetric,

    dL / dz_i  =  1/(N temperature)  sum_k  [ exp(S_ik - n_i) + exp(S_ik - n_k) - T_ik (1/R_i + 1/R_k) ] z_k

Once a process knows n and R of all rows, it can therefore compute the complete gradient of its own, as in
:mod:`mulan.objectives.contrastive`, in float64 tiles that are recomputed instead of stored. No exponent in the
gradient is positive, and no epsilon is added inside the logarithm: the code of the paper's authors adds 1e-6, which
changes the value by 0.05 to 0.1 % and the gradient by about 1 % in a batch of 96 recordings with two random views each.
"""

import math
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from mulan.config.objectives import SemiSupConConfig
from mulan.distributed.collectives import all_gather, rank_and_world_size
from mulan.objectives import tiles
from mulan.objectives.tiles import autocast_disabled, iterate_tiles, log_sums, own_part, repulsion, row_products


class Labels(NamedTuple):
    """Identities and labels of b recordings."""

    recordings: torch.Tensor
    """Integer id of each recording, int64 [b]; a recording may occur twice in a batch."""
    tags: torch.Tensor
    """Multi-hot labels, uint8 [b, C]: 1 if the recording has the tag. C may be 0."""


def semisupcon_loss(views: torch.Tensor, labels: Labels, section: SemiSupConConfig) -> torch.Tensor:
    """Computes the loss of the global batch, of which each of W processes holds B / W consecutive recordings.

    Value and gradient are those of the global loss on every process. Besides embeddings, tags and gradients, memory is
    needed for a few tiles only, independent of B.

    Args:
        views: [B / W, V, p], unit rows, V >= 2; the shape is the same on all processes.
        labels: Labels of the same recordings.

    Returns:
        The loss, a scalar of dtype float32 or wider.
    """
    assert views.shape[1] >= 2, "every recording needs at least two views"
    rows = views.to(torch.promote_types(views.dtype, torch.float32)).flatten(0, 1)
    with autocast_disabled(rows):
        return _SemiSupCon.apply(rows, labels, views.shape[1], section)  # type: ignore[no-any-return, no-untyped-call]


class _SemiSupCon(torch.autograd.Function):
    """Compares this process's rows with all rows."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, labels: Labels, views: int, section: SemiSupConConfig) -> torch.Tensor:
        all_rows, first = all_gather(rows), rank_and_world_size()[0] * len(rows)
        mine = slice(first, first + len(rows))
        targets = _Targets(labels, views, section)
        temperature = rows.new_full((), section.temperature, dtype=torch.float64)
        log_denominators, _ = log_sums(rows, all_rows, temperature, own=mine)
        target_sums, positives = torch.empty_like(log_denominators), torch.empty_like(log_denominators)
        for anchors, scaled, row_of_tiles in iterate_tiles(rows, all_rows, temperature, own=mine):
            sums, weighted = scaled.new_zeros(len(scaled)), torch.zeros_like(scaled)
            for tile in row_of_tiles:
                target = targets.tile(anchors, tile.columns)
                sums += target.sum(dim=1)
                weighted.addmm_(target, tile.partners)
            inside, place = own_part(anchors, mine)
            target_sums[place], positives[place] = sums[inside], row_products(scaled, weighted)[inside]
        losses = log_denominators - positives / target_sums
        gathered = all_gather(torch.stack((log_denominators, target_sums, losses), dim=1))
        all_log_denominators, all_target_sums, all_losses = gathered.unbind(dim=1)
        ctx.save_for_backward(all_rows, all_log_denominators, all_target_sums)
        ctx.targets, ctx.temperature, ctx.mine = targets, temperature, mine
        return all_losses.mean().to(rows.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        all_rows, log_denominators, target_sums = ctx.saved_tensors
        grad_anchor, inverse_sums = grad_output.double() / (len(all_rows) * ctx.temperature), 1 / target_sums
        rows = all_rows[ctx.mine]
        gradient = torch.empty_like(rows)
        with autocast_disabled(all_rows):
            for anchors, scaled, row_of_tiles in iterate_tiles(rows, all_rows, ctx.temperature, own=ctx.mine):
                grad_rows = torch.zeros_like(scaled)
                for tile in row_of_tiles:
                    attraction = ctx.targets.tile(anchors, tile.columns)
                    weights = repulsion(tile, log_denominators[anchors], log_denominators[tile.columns])
                    attraction.mul_(
                        torch.add(inverse_sums[anchors][:, None], inverse_sums[tile.columns], out=tile.similarity)
                    )
                    grad_rows.addmm_(weights.sub_(attraction), tile.partners)
                inside, place = own_part(anchors, ctx.mine)
                gradient[place] = grad_rows.mul_(grad_anchor)[inside]
        return gradient, None, None, None


class _Targets:
    """The targets T of the global batch, computed tile by tile in one buffer; see :mod:`mulan.objectives.tiles`."""

    def __init__(self, labels: Labels, views: int, section: SemiSupConConfig) -> None:
        """Gathers the labels of all processes. Collective.

        Args:
            labels: Labels of this process's recordings.
        """
        self._recordings = all_gather(labels.recordings).repeat_interleave(views)
        self._tags = all_gather(labels.tags).repeat_interleave(views, dim=0)
        self._sizes = self._tags.sum(dim=1, dtype=torch.float64)
        self._section = section
        self._memory = torch.empty(
            2, min(tiles.TILE, len(self._tags)) ** 2, dtype=torch.float64, device=labels.tags.device
        )

    def tile(self, rows: slice, columns: slice) -> torch.Tensor:
        """Returns the targets [r, c] of a tile. The caller may overwrite them; the next call reuses their memory."""
        recordings, tags = self._recordings[columns], self._tags[columns].double()
        shape = (rows.stop - rows.start, len(tags))
        target, spare = (part[: math.prod(shape)].view(shape) for part in self._memory)
        torch.mm(self._tags[rows].double(), tags.T, out=target)  # number of shared tags
        if self._section.weighting == "dice":
            torch.ge(target, self._section.min_shared_tags, out=spare)
            target.mul_(spare)
            sizes = torch.add(self._sizes[rows][:, None], self._sizes[columns], out=spare)
            target.mul_(2).div_(sizes.clamp_min_(1))
        else:
            target.ge_(self._section.min_shared_tags)
        target.masked_fill_(self._recordings[rows][:, None] == recordings, 1)
        target.diagonal(rows.start - columns.start).fill_(0)
        return target
