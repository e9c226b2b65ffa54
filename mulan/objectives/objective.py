"""The objective: a weighted sum of terms over the embeddings of the global batch or over single micro-batches."""

from collections.abc import Mapping

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from mulan.config.sections import LossWeightsConfig


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


def weighted_sum(terms: Mapping[str, torch.Tensor], weights: LossWeightsConfig) -> torch.Tensor:
    """Returns the loss: the sum of the terms multiplied by their weights."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
