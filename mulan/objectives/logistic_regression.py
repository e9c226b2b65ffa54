"""Logistic regression over tags: the pretraining of M-Resnet-50 on AudioSet (MuLan §3.2)."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def tagging_loss(logits: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Mean over recordings and classes of the binary cross-entropy, in nats; ln 2 where all logits are 0.

    Args:
        logits: [m, C].
        tags: [m, C], 1 where the recording bears the tag and 0 elsewhere.

    Returns:
        A float32 scalar (float64 for float64 logits).
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return binary_cross_entropy_with_logits(logits.to(dtype), tags.to(dtype))
