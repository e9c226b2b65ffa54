"""SemiSupCon's loss: supervised and self-supervised contrastive learning in one term (Guinot et al. 2024, equation 3).

    L = 1/N  sum_i  -1/R_i  sum_k  T_ik log [ exp(S_ik) / sum_{j != i} exp(S_ij) ],   R_i = sum_k T_ik

over the N views of all recordings, S_ik = z_i . z_k / temperature. The target T_ik is 1 for two views of one recording,
and for recordings that share at least so many tags: 1 or, by the weighted variant, the Dice coefficient
2 |A and B| / (|A| + |B|) of their tags. T_ii = 0. The denominator includes the positives. A recording without tags has
its own views as positives, and is a negative of all others. Khosla et al. 2020 is the case of labels alone, Chen et al.
2020 that of none.

With n_i the logarithm of the denominator of anchor i, L = 1/N sum_i (n_i - 1/R_i sum_k T_ik S_ik), and since S and T
are symmetric

    dL / dz_i  =  1/(N temperature)  sum_k  [ exp(S_ik - n_i) + exp(S_ik - n_k) - T_ik (1/R_i + 1/R_k) ] z_k

so that a process has the whole gradient of its own rows once it knows n and R of all: as in
:mod:`mulan.objectives.contrastive`, in float64 tiles of which none is kept. Nothing is added within the logarithm, and
every exponent in the gradient is at most 0.
"""

import math
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from mulan.config.sections import SemiSupConConfig
from mulan.distributed.collectives import all_gather, rank_and_world_size
from mulan.objectives import tiles
from mulan.objectives.tiles import autocast_disabled, log_sums, products, push, rows_of_tiles


class Labels(NamedTuple):
    """What is known of b recordings."""

    recordings: torch.Tensor
    """int64 [b], a number for each recording: a batch may have one twice."""
    tags: torch.Tensor
    """uint8 [b, C], 1 where a recording bears a tag; C may be 0."""


def semisupcon_loss(views: torch.Tensor, labels: Labels, section: SemiSupConConfig) -> torch.Tensor:
    """The loss of the global batch, of which each of W processes holds B / W consecutive recordings.

    The value is the global loss on every process, and so is the gradient of ``views``. Memory beyond embeddings, tags
    and gradients is a few tiles, whatever B is.

    Args:
        views: [B / W, V, p] unit rows, V >= 2; as many on each process.
        labels: of the same recordings.

    Returns:
        A scalar, in float32 at least.
    """
    assert views.shape[1] >= 2, "a view needs another one of its recording"
    rows = views.to(torch.promote_types(views.dtype, torch.float32)).flatten(0, 1)
    with autocast_disabled(rows):
        return _SemiSupCon.apply(rows, labels, views.shape[1], section)  # type: ignore[no-any-return, no-untyped-call]


class _SemiSupCon(torch.autograd.Function):
    """This process's rows against all rows."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, labels: Labels, views: int, section: SemiSupConConfig) -> torch.Tensor:
        all_rows, first = all_gather(rows), rank_and_world_size()[0] * len(rows)
        mine = slice(first, first + len(rows))
        targets = _Targets(labels, views, section)
        temperature = rows.new_full((), section.temperature, dtype=torch.float64)
        log_denominators, _ = log_sums(all_rows, all_rows, temperature, own=mine)
        totals = torch.zeros(len(all_rows), dtype=torch.float64, device=rows.device)
        attracted = torch.zeros_like(totals)
        for of_tile, scaled, row_of_tiles in rows_of_tiles(all_rows, all_rows, temperature, own=mine):
            pulled = torch.zeros_like(scaled)
            for tile in row_of_tiles:
                target = targets.tile(of_tile, tile.columns)
                totals[of_tile] += target.sum(dim=1)
                pulled.addmm_(target, tile.partners)
            attracted[of_tile] = products(scaled, pulled)
        losses = log_denominators - attracted[mine] / totals[mine]
        gathered = all_gather(torch.stack((log_denominators, totals[mine], losses), dim=1))
        all_log_denominators, all_totals, all_losses = gathered.unbind(dim=1)
        ctx.save_for_backward(all_rows, all_log_denominators, all_totals)
        ctx.targets, ctx.temperature, ctx.mine = targets, temperature, mine
        return all_losses.mean().to(rows.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        all_rows, log_denominators, totals = ctx.saved_tensors
        of_anchor, shares = of_loss.double() / (len(all_rows) * ctx.temperature), 1 / totals
        gradient = torch.empty_like(all_rows)
        with autocast_disabled(all_rows):
            for of_tile, scaled, row_of_tiles in rows_of_tiles(all_rows, all_rows, ctx.temperature, own=ctx.mine):
                of_rows = torch.zeros_like(scaled)
                for tile in row_of_tiles:
                    pull = ctx.targets.tile(of_tile, tile.columns)
                    pushed = push(tile, log_denominators[of_tile], log_denominators[tile.columns])
                    pull.mul_(torch.add(shares[of_tile][:, None], shares[tile.columns], out=tile.similarity))
                    of_rows.addmm_(pushed.sub_(pull), tile.partners)
                gradient[of_tile] = of_rows.mul_(of_anchor)
        return gradient[ctx.mine], None, None, None


class _Targets:
    """T of the global batch, made tile by tile in memory that all tiles share; see :mod:`mulan.objectives.tiles`."""

    def __init__(self, labels: Labels, views: int, section: SemiSupConConfig) -> None:
        """Collective. ``labels``: of this process's recordings."""
        self._recordings = all_gather(labels.recordings).repeat_interleave(views)
        self._tags = all_gather(labels.tags).repeat_interleave(views, dim=0)
        self._sizes = self._tags.sum(dim=1, dtype=torch.float64)
        self._section = section
        self._memory = torch.empty(
            2, min(tiles.TILE, len(self._tags)) ** 2, dtype=torch.float64, device=labels.tags.device
        )

    def tile(self, rows: slice, columns: slice) -> torch.Tensor:
        """[r, c] for the anchors of a tile. It may be overwritten, and lasts until the next is made."""
        recordings, tags = self._recordings[columns], self._tags[columns].double()
        shape = (rows.stop - rows.start, len(tags))
        target, spare = (part[: math.prod(shape)].view(shape) for part in self._memory)
        torch.mm(self._tags[rows].double(), tags.T, out=target)  # how many tags they share
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
