"""The loss of tagging: logistic regression over one micro-batch (MuLan §3.2)."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def tagging_loss(logits: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Computes the binary cross-entropy in nats, averaged over recordings and classes; ln 2 if all logits are 0.

    Args:
        logits: [m, C].
        tags: [m, C], 1 if the recording has the tag, otherwise 0.

    Returns:
        A float32 scalar (float64 for float64 logits).
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return binary_cross_entropy_with_logits(logits.to(dtype), tags.to(dtype))
