"""Pooling of a text encoder's outputs to one vector, which represents the text."""

import torch
from torch import Tensor

from mulan.config.sections import Pooling


def pool(outputs: Tensor, attention_mask: Tensor, pooling: Pooling) -> Tensor:
    """Pools the outputs at all positions; those at padding are not read.

    Args:
        outputs: [m, L, D], in any precision.
        attention_mask: [m, L], 1 for the tokens of a text, of which there is at least one, and 0 for the padding that
            follows them.
        pooling: ``cls`` returns the output at the first position, ``last`` that at the last token, and ``mean`` the
            mean over the tokens of the text, special tokens included, as mean pooling of sentence-transformers does.

    Returns:
        [m, D], in the precision of the outputs; a mean is at least float32, in which it is accumulated.
    """
    if pooling == "cls":
        return outputs[:, 0]
    positions = torch.arange(outputs.shape[1], device=outputs.device)
    lengths = attention_mask.sum(dim=1, keepdim=True)
    if pooling == "last":
        # a sum with one term is exact, and unlike indexing needs no sort for a deterministic gradient
        return _sum(outputs, positions == lengths - 1)
    precise = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    return _sum(precise, positions < lengths) / lengths


def _sum(outputs: Tensor, selected: Tensor) -> Tensor:
    """Sums [m, L, D] over the selected positions, bool [m, L]."""
    return outputs.masked_fill(~selected[..., None], 0.0).sum(dim=1)
