"""MuLan's loss with whole similarity matrices and plain autograd: the slow twin of ``mulan.objectives.contrastive``."""

import torch

from mulan.objectives.collectives import gather_with_gradient, sum_over_workers, world


def untiled_loss(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """The global loss of [B / W, d] rows on each of W processes, with the gradients of the tiled form; but that of the
    temperature must be summed over the processes.

    Each process holds two matrices of B / W by B, and what autograd keeps of them.
    """
    rank, workers = world()
    own = torch.arange(len(audio), device=audio.device)

    def log_sum_of_negatives(anchors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        similarity = anchors @ others.T / temperature
        partners = (own, own + rank * len(own))
        return similarity.index_put(partners, similarity.new_tensor(-torch.inf)).logsumexp(dim=1)

    row = log_sum_of_negatives(audio, gather_with_gradient(text))
    column = log_sum_of_negatives(text, gather_with_gradient(audio))
    losses = torch.logaddexp(row, column) - (audio * text).sum(dim=1) / temperature
    mine = losses.sum() / (len(audio) * workers)
    return mine + (sum_over_workers(mine) - mine.detach())
