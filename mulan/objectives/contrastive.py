"""MuLan's loss: batch-wise contrastive multiview coding (MuLan §3.1; Tian et al. 2020).

    L = 1/B  sum_i  -log  h(a_i, t_i) / sum_{j != i} [ h(a_i, t_j) + h(a_j, t_i) ],   h(a, t) = exp(a . t / temperature)

The positive is not in the denominator, and one logarithm spans the negatives of both directions. When all similarities
are equal the loss is ln(2 (B - 1)). It is computed as logaddexp(row, column) - positive, so nothing overflows.
"""

import torch

from mulan.objectives.collectives import gather_with_gradient, sum_over_workers, world


def contrastive_loss(audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float) -> torch.Tensor:
    """The loss of a batch that lies in one process.

    Args:
        audio: [B, d] unit rows; row i belongs with row i of ``text``. B is at least 2.
        text: [B, d] unit rows.
        temperature: in (0, 1].

    Returns:
        A scalar, in float32 at least.
    """
    return _sum_of_rows(audio, text, audio, text, temperature, first_row=0) / len(audio)


def sharded_contrastive_loss(
    audio: torch.Tensor, text: torch.Tensor, temperature: torch.Tensor | float
) -> torch.Tensor:
    """The same loss when each process holds [B / W, d] consecutive rows of the global batch.

    Each process computes the rows and columns of its own pairs. The value is the global loss on every process; the
    gradient of ``audio`` and ``text`` is that of the global loss; the gradients of ``temperature`` must be summed over
    the processes.
    """
    rank, workers = world()
    all_audio, all_text = gather_with_gradient(audio), gather_with_gradient(text)
    mine = _sum_of_rows(audio, text, all_audio, all_text, temperature, first_row=rank * len(audio))
    mine = mine / (len(audio) * workers)
    return mine + (sum_over_workers(mine) - mine.detach())


def _sum_of_rows(
    audio: torch.Tensor,
    text: torch.Tensor,
    all_audio: torch.Tensor,
    all_text: torch.Tensor,
    temperature: torch.Tensor | float,
    *,
    first_row: int,
) -> torch.Tensor:
    """Sum of the losses of pairs first_row .. first_row + b - 1 of a batch of B: [b, d] against [B, d]."""
    assert len(all_audio) >= 2, "a contrastive loss needs a negative"
    dtype = torch.promote_types(audio.dtype, torch.float32)  # bf16 similarities lose the small differences that matter
    audio, text, all_audio, all_text = (rows.to(dtype) for rows in (audio, text, all_audio, all_text))
    own = torch.arange(len(audio), device=audio.device)
    positive = (audio * text).sum(dim=1) / temperature

    def log_sum_of_negatives(anchors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        similarity = anchors @ others.T / temperature
        similarity = similarity.index_put((own, own + first_row), similarity.new_tensor(-torch.inf))
        return similarity.logsumexp(dim=1)

    negatives = torch.logaddexp(log_sum_of_negatives(audio, all_text), log_sum_of_negatives(text, all_audio))
    return (negatives - positive).sum()
