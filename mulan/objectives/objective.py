"""An objective is a weighted sum of terms over the embeddings of the global batch."""

import torch

from mulan.config.sections import LossWeights
from mulan.model.joint import Embeddings
from mulan.objectives.contrastive import contrastive_loss


def objective(embeddings: Embeddings, weights: LossWeights) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss and its unweighted terms by name; a term of weight 0 is not computed.

    Args:
        embeddings: this worker's rows of the global batch.

    Returns:
        The global loss, whose gradients are as :func:`contrastive_loss` says, and detached global terms.
    """
    terms: dict[str, torch.Tensor] = {}
    if weights.contrastive > 0:
        terms["contrastive"] = contrastive_loss(embeddings.audio[:, 0], embeddings.text, embeddings.temperature)
    loss = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return loss, {name: term.detach() for name, term in terms.items()}
