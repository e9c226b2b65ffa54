"""An objective is a weighted sum of terms: over the embeddings of the global batch, or over one micro-batch each."""

from collections.abc import Mapping

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from mulan.config.sections import LossWeightsConfig, SemiSupConConfig
from mulan.model.outputs import Embeddings
from mulan.objectives.contrastive import contrastive_loss
from mulan.objectives.semisupcon import Labels, semisupcon_loss


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


def global_terms(
    embeddings: Embeddings, labels: Labels, weights: LossWeightsConfig, semisupcon: SemiSupConConfig
) -> dict[str, torch.Tensor]:
    """The terms over the global batch that have a weight, by name; the others are not computed.

    Args:
        embeddings: this worker's rows of the global batch.
        labels: of the same recordings.

    Returns:
        Global values, whose gradients are as :func:`contrastive_loss` and :func:`semisupcon_loss` say.
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
    """The loss."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
