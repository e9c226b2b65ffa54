"""The objective: a weighted sum of terms over the embeddings of the global batch or over single micro-batches."""

from collections.abc import Mapping

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from mulan.config.sections import LossWeightsConfig, SemiSupConConfig
from mulan.model.outputs import Embeddings
from mulan.objectives.contrastive import contrastive_loss
from mulan.objectives.semisupcon import Labels, semisupcon_loss


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


def global_terms(
    embeddings: Embeddings, labels: Labels, weights: LossWeightsConfig, semisupcon: SemiSupConConfig
) -> dict[str, torch.Tensor]:
    """Computes the terms over the global batch that have a weight, by name.

    Args:
        embeddings: This worker's rows of the global batch.
        labels: Labels of the same recordings.

    Returns:
        Terms of the global batch; for their gradients see :func:`contrastive_loss` and :func:`semisupcon_loss`.
    """
    terms: dict[str, torch.Tensor] = {}
    if weights.contrastive:
        assert embeddings.audio is not None and embeddings.text is not None and embeddings.temperature is not None
        terms["contrastive"] = contrastive_loss(embeddings.audio, embeddings.text, embeddings.temperature)
    if weights.semisupcon:
        assert embeddings.views is not None
        terms["semisupcon"] = semisupcon_loss(embeddings.views, labels, semisupcon)
    return terms


def weighted_sum(terms: Mapping[str, torch.Tensor], weights: LossWeightsConfig) -> torch.Tensor:
    """Returns the loss: the sum of the terms multiplied by their weights."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
