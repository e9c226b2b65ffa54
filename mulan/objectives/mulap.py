"""MuLaP's three terms over one micro-batch: masked language, masked audio, audio-text matching (MuLaP §2.2).

Means over what is predicted: a micro-batch in which nothing is hidden has the loss 0, and no gradient. The means of the
micro-batches are averaged over the global batch, whoever computes them.
"""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from mulan.config.sections import LossWeightsConfig
from mulan.model.outputs import Predictions


def masked_language_loss(token_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the tokens to be predicted, in nats (equation 2).

    Args:
        token_logits: [n, vocabulary].
        targets: int64 [n].

    Returns:
        A float32 scalar (float64 for float64 logits); 0 where n is 0.
    """
    return cross_entropy(_whole(token_logits), targets, reduction="sum") / max(len(targets), 1)


def masked_audio_loss(predictions: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of hidden segments' features (equation 3, divided by the number of features, which the
    weights in use presuppose).

    Args:
        predictions: [k, d].
        features: [k, d], what the encoder made of the segments; no gradient reaches it.

    Returns:
        A float32 scalar (float64 for float64 predictions); 0 where k is 0.
    """
    return mse_loss(_whole(predictions), _whole(features.detach()), reduction="sum") / max(predictions.numel(), 1)


def matching_loss(match_logits: torch.Tensor, matched: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy, in nats (equation 4); ln 2 where all logits are 0.

    Args:
        match_logits: [m].
        matched: [m], 1 where audio and caption belong together.

    Returns:
        A float32 scalar (float64 for float64 logits).
    """
    logits = _whole(match_logits)
    return binary_cross_entropy_with_logits(logits, matched.to(logits.dtype))


def mulap_terms(
    predictions: Predictions, *, token_targets: torch.Tensor, matched: torch.Tensor, weights: LossWeightsConfig
) -> dict[str, torch.Tensor]:
    """The terms that have a weight, by name.

    Args:
        token_targets: int64 [n], of the tokens to be predicted.
        matched: uint8 [m].
    """
    terms: dict[str, torch.Tensor] = {}
    if weights.mlm:
        assert predictions.token_logits is not None
        terms["mlm"] = masked_language_loss(predictions.token_logits, token_targets)
    if weights.mam:
        assert predictions.segments is not None and predictions.segment_features is not None
        terms["mam"] = masked_audio_loss(predictions.segments, predictions.segment_features)
    if weights.atm:
        assert predictions.match_logits is not None
        terms["atm"] = matching_loss(predictions.match_logits, matched)
    return terms


def _whole(values: torch.Tensor) -> torch.Tensor:
    """In float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
