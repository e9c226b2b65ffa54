"""An objective is a weighted sum of terms: over the embeddings of the global batch, or over one micro-batch each."""

from collections.abc import Mapping

import torch

from mulan.config.sections import LossWeights, SemiSupCon
from mulan.model.joint import Embeddings
from mulan.objectives.contrastive import contrastive_loss
from mulan.objectives.semisupcon import Labels, semisupcon_loss


def global_terms(
    embeddings: Embeddings, labels: Labels, weights: LossWeights, semisupcon: SemiSupCon
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


def weighted_sum(terms: Mapping[str, torch.Tensor], weights: LossWeights) -> torch.Tensor:
    """The loss."""
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
