"""MuLaP's three terms over one micro-batch: masked language, masked audio, audio-text matching (MuLaP §2.2).

Each term is the mean over the predicted items of a micro-batch; without any, its loss is 0 and it has no gradient. The
means of the micro-batches are averaged over the global batch, independent of the number of workers.
"""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from mulan.config.objectives import LossWeightsConfig
from mulan.model.outputs import Predictions


def masked_language_loss(token_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Computes the mean cross-entropy of the predicted tokens, in nats (equation 2).

    Args:
        token_logits: [n, vocabulary].
        targets: int64 [n].

    Returns:
        A float32 scalar (float64 for float64 logits); 0 if n is 0.
    """
    return cross_entropy(_at_least_float32(token_logits), targets, reduction="sum") / max(len(targets), 1)


def masked_audio_loss(predictions: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Computes the mean squared error of the features of masked segments.

    This is equation 3 divided by the number of features, as the recipe's weights presuppose.

    Args:
        predictions: [k, d].
        features: [k, d], the encoder's output for the segments, which receives no gradient.

    Returns:
        A float32 scalar (float64 for float64 predictions); 0 if k is 0.
    """
    squared = mse_loss(_at_least_float32(predictions), _at_least_float32(features.detach()), reduction="sum")
    return squared / max(predictions.numel(), 1)


def matching_loss(match_logits: torch.Tensor, matched: torch.Tensor) -> torch.Tensor:
    """Computes the mean binary cross-entropy of audio-text matching, in nats (equation 4); ln 2 if all logits are 0.

    Args:
        match_logits: [m].
        matched: [m], 1 if audio and caption belong together.

    Returns:
        A float32 scalar (float64 for float64 logits).
    """
    logits = _at_least_float32(match_logits)
    return binary_cross_entropy_with_logits(logits, matched.to(logits.dtype))


def mulap_terms(
    predictions: Predictions, *, token_targets: torch.Tensor, matched: torch.Tensor, weights: LossWeightsConfig
) -> dict[str, torch.Tensor]:
    """Computes the terms that have a weight, by name.

    Args:
        token_targets: int64 [n], ids of the predicted tokens.
        matched: uint8 [m], 1 if audio and caption belong together.
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


def _at_least_float32(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
