"""What the models of each objective return."""

from typing import NamedTuple

from torch import Tensor, nn


class Embeddings(NamedTuple):
    """What terms over the global batch see of m pairs; None where no term reads it."""

    audio: Tensor | None
    """float32 [m, d], unit rows: the first view of each recording in the space that it shares with texts."""
    text: Tensor | None
    """float32 [m, d], unit rows."""
    temperature: Tensor | None
    """Of audio against text; float32 scalar in (0, 1)."""
    views: Tensor | None = None
    """float32 [m, views, p], unit rows: every view in the space of the views' own projection head."""


class Hidden(NamedTuple):
    """What is hidden of m pairs, on the model's device."""

    segments: Tensor
    """uint8 [m, segments], 1 where a feature is hidden."""
    segment_places: Tensor
    """int64 [k]: the hidden ones, counted through all m * segments."""
    token_places: Tensor
    """int64 [n]: the tokens to be predicted, counted through all m * L."""


class Predictions(NamedTuple):
    """What the model makes of m pairs; None for a term without weight."""

    token_logits: Tensor | None
    """float32 [n, vocabulary], of the tokens to be predicted."""
    segments: Tensor | None
    """float32 [k, features], what the hidden segments are taken for."""
    segment_features: Tensor | None
    """float32 [k, features], what they are: the encoder's output before it was hidden, without gradient."""
    match_logits: Tensor | None
    """float32 [m], above 0 where audio and text are taken for a pair."""


def unit_rows(rows: Tensor) -> Tensor:
    """[..., d] of length 1."""
    return nn.functional.normalize(rows, dim=-1)
