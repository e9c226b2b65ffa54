"""MuLaP's model: audio segments and tokens that attend to each other, and predictions of them (Manco et al. 2022).

Only the audio encoder is of use afterwards (§3.2); all else is there to teach it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mulan.config.pretrained import PretrainedError
from mulan.config.recipe import Recipe
from mulan.config.sections import LossWeights, Mulap
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.co_attention import CoAttentionBlock, CoAttentionLayer
from mulan.model.precision import Precision, tower_autocast
from mulan.model.segment_embedding import SegmentEmbedding
from mulan.model.text_tower import TextTower


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


class FusionModel(nn.Module):
    """Waveforms and token ids to :class:`Predictions` (MuLaP §2.1, figure 2)."""

    def __init__(
        self,
        *,
        audio_encoder: AudioEncoder,
        text_tower: TextTower,
        section: Mulap,
        weights: LossWeights,
        segments: int,
        segment_samples: int,
        precision: Precision = "float32",
    ) -> None:
        """Draws all but the towers from torch's default generator.

        Args:
            weights: a term without weight has no head, and the last block no layer that only it would read.
            segments: of a window.
            segment_samples: of each, which is what the audio encoder takes.
            precision: ``bf16`` runs text tower and blocks under autocast; the audio encoder has a precision of its own.
        """
        super().__init__()
        self.audio_encoder, self.text_tower = audio_encoder, text_tower
        self.segment_samples, self._precision = segment_samples, precision
        features, text_size = audio_encoder.output_dim, text_tower.output_dim
        self.segment_embedding = SegmentEmbedding(section, features=features, segments=segments)
        whole = [_block(section, text_tower, audio=True, text=True) for _ in range(section.fusion_layers - 1)]
        last = _block(
            section,
            text_tower,
            audio=weights.mam > 0 or weights.atm > 0,
            text=weights.mlm > 0 or weights.atm > 0,
        )
        self.blocks = nn.ModuleList([*whole, last])
        self.token_head = TokenHead(text_tower) if weights.mlm else None
        self.segment_head = nn.Linear(section.audio_size, features) if weights.mam else None
        self.match_head = MatchHead(section, text_size) if weights.atm else None

    def forward(self, waveform: Tensor, token_ids: Tensor, attention_mask: Tensor, hidden: Hidden) -> Predictions:
        """Never waits for the device.

        Args:
            waveform: int16 or float in [-1, 1], [m, 1, samples]; what is left after the last whole segment is not used.
            token_ids: int64 [m, L].
            attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
            hidden: what the model may not see of the audio, and what it has to predict.
        """
        pairs, segments = hidden.segments.shape
        parts = waveform[:, 0, : segments * self.segment_samples].view(pairs, segments, -1)
        features = self.audio_encoder(parts.flatten(0, 1)).unflatten(0, (pairs, segments))
        with tower_autocast(waveform.device, self._precision):
            audio = self.segment_embedding(features, hidden.segments)
            text = self.text_tower.tokens(token_ids, attention_mask)
            mask = attention_mask.bool()
            for block in self.blocks:
                audio, text = block(audio, text, mask)
        audio, text = audio.float(), text.float()
        of_segments = audio[:, 1:].flatten(0, 1)[hidden.segment_places]
        return Predictions(
            token_logits=self.token_head(text.flatten(0, 1)[hidden.token_places]) if self.token_head else None,
            segments=self.segment_head(of_segments) if self.segment_head else None,
            # of what is heard, and not of what was made of it to hide it: that would be zeros
            segment_features=features.detach().flatten(0, 1)[hidden.segment_places] if self.segment_head else None,
            match_logits=self.match_head(audio[:, 0], text[:, 0]) if self.match_head else None,
        )

    def warm_started_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters whose first values were trained before: the text encoder's, and a warm-started audio tower's."""
        yield from self.text_tower.parameters()
        yield from self.audio_encoder.warm_started_parameters()


class TokenHead(nn.Module):
    """Tokens to a logit for every word of the vocabulary, by BERT's head: its last layer is the token embeddings."""

    def __init__(self, text_tower: TextTower) -> None:
        super().__init__()
        size = text_tower.output_dim
        self.transform = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))
        self.bias = nn.Parameter(torch.zeros(text_tower.encoder.config.vocab_size))
        self._embeddings = (text_tower.encoder.get_input_embeddings(),)  # in a tuple: it is not this module's

    def forward(self, tokens: Tensor) -> Tensor:
        """float32 [n, size] to [n, vocabulary]."""
        return nn.functional.linear(self.transform(tokens), self._embeddings[0].weight, self.bias)


class MatchHead(nn.Module):
    """Both summaries, brought to one size, multiplied element by element, to a logit (§2.2).

    Between projection and product ViLBERT has a ReLU, of which the paper says nothing. It is left out, so that products
    may have either sign.
    """

    def __init__(self, section: Mulap, text_size: int) -> None:
        super().__init__()
        self.audio = nn.Linear(section.audio_size, section.fusion_size)
        self.text = nn.Linear(text_size, section.fusion_size)
        self.score = nn.Linear(section.fusion_size, 1)

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        """[m, audio size] and [m, text size] to [m]."""
        logits: Tensor = self.score(self.audio(audio) * self.text(text))
        return logits.squeeze(-1)


def build_fusion_model(recipe: Recipe, text_tower: TextTower | None = None) -> FusionModel:
    """A recipe's model: pretrained text encoder, audio tower pretrained or not, the rest drawn from torch's default
    generator.

    Args:
        text_tower: in place of the recipe's.

    Raises:
        PretrainedError: the recipe's text encoder or its pretrained audio tower cannot be used.
    """
    text_tower = text_tower or TextTower.from_section(recipe.text_tower)
    faults = list(_unfit(text_tower, recipe.loss.weights))
    if faults:
        raise PretrainedError(recipe.text_tower.pretrained, faults, "Set text_tower.pretrained to a BERT or a RoBERTa.")
    return FusionModel(
        audio_encoder=AudioEncoder.from_recipe(recipe),
        text_tower=text_tower,
        section=recipe.mulap,
        weights=recipe.loss.weights,
        segments=recipe.segments,
        segment_samples=recipe.encoder_window_samples,
        precision=recipe.train.precision,
    )


def _unfit(text_tower: TextTower, weights: LossWeights) -> Iterator[str]:
    """What the model needs of a text encoder and this one has not."""
    encoder, size = text_tower.encoder, text_tower.output_dim
    if not hasattr(encoder.config, "intermediate_size"):
        yield f"a {encoder.config.model_type} does not say how wide its feed-forward layers are"
    width = encoder.get_input_embeddings().weight.shape[1]
    if weights.mlm and width != size:
        yield f"its token embeddings are {width} wide and its outputs {size}, so that they cannot predict tokens"


def _block(section: Mulap, text_tower: TextTower, *, audio: bool, text: bool) -> CoAttentionBlock:
    text_size, text_feed_forward = text_tower.output_dim, text_tower.encoder.config.intermediate_size
    return CoAttentionBlock(
        CoAttentionLayer(
            section,
            size=section.audio_size,
            other_size=text_size,
            feed_forward_size=section.audio_feed_forward_size,
        )
        if audio
        else None,
        CoAttentionLayer(section, size=text_size, other_size=section.audio_size, feed_forward_size=text_feed_forward)
        if text
        else None,
    )
