"""Outputs of the models, and the masked positions in their inputs."""

from typing import NamedTuple

from torch import Tensor, nn


class Embeddings(NamedTuple):
    """Embeddings of m pairs, and scalars that are the same for all pairs. A field is None if no loss term needs it."""

    audio: Tensor | None
    """Embeddings of each recording's first view in the joint space, float32 [m, d], unit rows."""
    text: Tensor | None
    """Embeddings of the texts in the joint space, float32 [m, d], unit rows."""
    temperature: Tensor | None
    """Temperature of the similarities of audio and text, a float32 scalar in (0, 1)."""
    views: Tensor | None = None
    """Outputs of the projection head for all views, float32 [m, views, p], unit rows."""
    bias: Tensor | None = None
    """Bias that is added to the similarities of audio and text, a float32 scalar."""


class MaskedPositions(NamedTuple):
    """Masked segments and predicted tokens of m pairs, on the model's device."""

    segments: Tensor
    """Segment mask, uint8 [m, segments]: 1 if the segment's feature is masked."""
    segment_indices: Tensor
    """Indices of the masked segments in the flattened segment mask, int64 [k]."""
    token_indices: Tensor
    """Indices of the predicted tokens in the flattened token ids [m, L], int64 [n]."""


class Predictions(NamedTuple):
    """Predictions of MuLaP's model for m pairs. The fields of a loss term without weight are None."""

    token_logits: Tensor | None
    """Logits of the predicted tokens, float32 [n, vocabulary]."""
    segments: Tensor | None
    """Predicted features of the masked segments, float32 [k, features]."""
    segment_features: Tensor | None
    """Target features of the masked segments, float32 [k, features]: the encoder's output, without gradient."""
    match_logits: Tensor | None
    """Logits of audio-text matching, float32 [m]: positive if audio and text are predicted to be a pair."""


def unit_rows(rows: Tensor) -> Tensor:
    """Normalizes the rows of [..., d] to Euclidean length 1."""
    return nn.functional.normalize(rows, dim=-1)
