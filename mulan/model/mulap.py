"""MuLaP's model: audio segments and tokens that attend to and predict each other (Manco et al. 2022).

Only the audio encoder is used after training (§3.2).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mulan.config.objectives import LossWeightsConfig, MulapConfig
from mulan.model.audio_encoder import AudioEncoder, Precision, TrainedModel, tower_autocast
from mulan.model.outputs import MaskedPositions, Predictions
from mulan.model.towers.text import TextTower
from mulan.storage.hub import PretrainedError


class SegmentEmbedding(nn.Module):
    """Embeds segment features as the audio stream, with a global token in front and learned positions (§2.1)."""

    def __init__(self, section: MulapConfig, *, features: int, segments: int) -> None:
        super().__init__()
        self.projection = nn.Linear(features, section.audio_size)
        self.positions = nn.Parameter(torch.empty(1 + segments, section.audio_size))
        self.norm = nn.LayerNorm(section.audio_size)
        self.dropout = nn.Dropout(section.dropout)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, features: Tensor, masked: Tensor) -> Tensor:
        """Embeds the features of m windows.

        Args:
            features: [m, segments, features].
            masked: [m, segments], 1 for segments whose features are masked, that is, replaced by zeros.

        Returns:
            The audio stream [m, 1 + segments, audio size]. The global token is computed from the mean of the visible
            segments, since a mean over all of them would reveal the masked ones; it is zero if all are masked.
        """
        visible = (1 - masked).unsqueeze(-1).to(features.dtype)
        kept = features * visible
        mean = kept.sum(dim=1, keepdim=True) / visible.sum(dim=1, keepdim=True).clamp_min(1)
        stream = self.projection(torch.cat([mean, kept], dim=1)) + self.positions
        embedded: Tensor = self.dropout(self.norm(stream))
        return embedded


class CoAttentionLayer(nn.Module):
    """A BERT layer whose keys and values come from the other modality.

    Attention and feed-forward network are each followed by a residual connection and a layer norm.
    """

    def __init__(self, section: MulapConfig, *, size: int, other_size: int, feed_forward_size: int) -> None:
        """
        Args:
            size: Hidden size of this modality's stream.
            other_size: Hidden size of the other modality's stream.
            feed_forward_size: Size of the feed-forward layer.
        """
        super().__init__()
        self.heads, self.dropout_p = section.fusion_heads, section.dropout
        self.query = nn.Linear(size, section.fusion_size)
        # a bias would have no effect: see mulan.model.towers.pretrained_networks
        self.key = nn.Linear(other_size, section.fusion_size, bias=False)
        self.value = nn.Linear(other_size, section.fusion_size)
        self.output = nn.Linear(section.fusion_size, size)
        self.output_norm = nn.LayerNorm(size)
        self.feed_forward = nn.Sequential(
            nn.Linear(size, feed_forward_size), nn.GELU(), nn.Linear(feed_forward_size, size)
        )
        self.feed_forward_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(section.dropout)

    def forward(self, own: Tensor, other: Tensor, other_mask: Tensor | None = None) -> Tensor:
        """Updates the stream of this modality.

        Args:
            own: Stream of this modality, [m, n, size].
            other: Stream of the other modality, [m, k, other_size].
            other_mask: bool [m, k], False for padding; None if there is no padding.

        Returns:
            The updated stream, [m, n, size].
        """
        query, key, value = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(own), self.key(other), self.value(other))
        )
        attended = scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if other_mask is None else other_mask[:, None, None, :],
            dropout_p=self.dropout_p if self.training else 0.0,
        )
        own = self.output_norm(own + self.dropout(self.output(attended.transpose(1, 2).flatten(2))))
        updated: Tensor = self.feed_forward_norm(own + self.dropout(self.feed_forward(own)))
        return updated


class CoAttentionBlock(nn.Module):
    """A co-attention layer for each modality, both applied to the same inputs."""

    def __init__(self, audio: CoAttentionLayer | None, text: CoAttentionLayer | None) -> None:
        """A modality whose output is not used has None as its layer; its stream is passed through unchanged."""
        super().__init__()
        self.audio, self.text = audio, text

    def forward(self, audio: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both streams, [m, 1 + segments, audio size] and [m, L, text size]; ``text_mask`` is bool [m, L]."""
        return (
            audio if self.audio is None else self.audio(audio, text, text_mask),
            text if self.text is None else self.text(text, audio),
        )


class FusionModel(TrainedModel):
    """Computes :class:`Predictions` from waveforms and token ids (MuLaP §2.1, figure 2)."""

    def __init__(
        self,
        *,
        audio_encoder: AudioEncoder,
        text_tower: TextTower,
        section: MulapConfig,
        weights: LossWeightsConfig,
        segments: int,
        segment_samples: int,
        precision: Precision = "float32",
    ) -> None:
        """Initialises everything but the towers from torch's default generator.

        Args:
            weights: Loss weights. A term without weight has no head, and the last block no layer that only it needs.
            segments: Number of segments of a window.
            segment_samples: Length of a segment in samples, the input size of the audio encoder.
            precision: ``bf16`` runs text tower and blocks under autocast; the audio encoder has its own setting.
        """
        super().__init__()
        self.audio_encoder, self.text_tower = audio_encoder, text_tower
        self.segment_samples, self._precision = segment_samples, precision
        features, text_size = audio_encoder.output_dim, text_tower.output_dim
        self.segment_embedding = SegmentEmbedding(section, features=features, segments=segments)
        first = [_block(section, text_tower, audio=True, text=True) for _ in range(section.fusion_layers - 1)]
        last = _block(
            section,
            text_tower,
            audio=weights.mam > 0 or weights.atm > 0,
            text=weights.mlm > 0 or weights.atm > 0,
        )
        self.blocks = nn.ModuleList([*first, last])
        self.token_head = TokenHead(text_tower) if weights.mlm else None
        self.segment_head = nn.Linear(section.audio_size, features) if weights.mam else None
        self.match_head = MatchHead(section, text_size) if weights.atm else None

    def forward(
        self, waveform: Tensor, token_ids: Tensor, attention_mask: Tensor, masked: MaskedPositions
    ) -> Predictions:
        """Predicts masked segments, tokens and matches, without synchronising with the device.

        Args:
            waveform: int16 or float in [-1, 1], [m, 1, samples]; samples after the last whole segment are not used.
            token_ids: int64 [m, L].
            attention_mask: int64 [m, L], 1 for tokens and 0 for padding.
            masked: Segments to mask and predict, and tokens to predict.
        """
        pairs, segments = masked.segments.shape
        parts = waveform[:, 0, : segments * self.segment_samples].view(pairs, segments, -1)
        features = self.audio_encoder(parts.flatten(0, 1)).unflatten(0, (pairs, segments))
        with tower_autocast(waveform.device, self._precision):
            audio = self.segment_embedding(features, masked.segments)
            text = self.text_tower.tokens(token_ids, attention_mask)
            mask = attention_mask.bool()
            for block in self.blocks:
                audio, text = block(audio, text, mask)
        audio, text = audio.float(), text.float()
        masked_segments = audio[:, 1:].flatten(0, 1)[masked.segment_indices]
        return Predictions(
            token_logits=self.token_head(text.flatten(0, 1)[masked.token_indices]) if self.token_head else None,
            segments=self.segment_head(masked_segments) if self.segment_head else None,
            # features before masking, which replaces them by zeros
            segment_features=features.detach().flatten(0, 1)[masked.segment_indices] if self.segment_head else None,
            match_logits=self.match_head(audio[:, 0], text[:, 0]) if self.match_head else None,
        )


class TokenHead(nn.Module):
    """BERT's prediction head, whose last layer shares its weight with the token embeddings."""

    def __init__(self, text_tower: TextTower) -> None:
        super().__init__()
        size = text_tower.output_dim
        self.transform = nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))
        self.bias = nn.Parameter(torch.zeros(text_tower.encoder.config.vocab_size))
        self._embeddings = (text_tower.encoder.get_input_embeddings(),)  # a tuple: not registered as a submodule

    def forward(self, tokens: Tensor) -> Tensor:
        """Computes logits [n, vocabulary] from float32 [n, size]."""
        return nn.functional.linear(self.transform(tokens), self._embeddings[0].weight, self.bias)


class MatchHead(nn.Module):
    """Computes a match logit from the elementwise product of the two projected global tokens (§2.2).

    ViLBERT's ReLU between projection and product, which the paper does not mention, is omitted, so that the products
    can have either sign.
    """

    def __init__(self, section: MulapConfig, text_size: int) -> None:
        super().__init__()
        self.audio = nn.Linear(section.audio_size, section.fusion_size)
        self.text = nn.Linear(text_size, section.fusion_size)
        self.score = nn.Linear(section.fusion_size, 1)

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        """Computes logits [m] from [m, audio size] and [m, text size]."""
        logits: Tensor = self.score(self.audio(audio) * self.text(text))
        return logits.squeeze(-1)


def check_text_tower(text_tower: TextTower, weights: LossWeightsConfig, *, pretrained: str) -> None:
    """Checks that a text encoder can be used in a fusion model.

    Args:
        weights: Loss weights of the recipe.
        pretrained: The recipe's ``text_tower.pretrained``, for the message.

    Raises:
        PretrainedError: The encoder does not meet all requirements; lists those that it does not meet.
    """
    faults = list(_unmet_requirements(text_tower, weights))
    if faults:
        raise PretrainedError(pretrained, faults, "Set text_tower.pretrained to a BERT or a RoBERTa.")


def _unmet_requirements(text_tower: TextTower, weights: LossWeightsConfig) -> Iterator[str]:
    """Yields a message for each requirement that a text encoder does not meet."""
    encoder, size = text_tower.encoder, text_tower.output_dim
    if not hasattr(encoder.config, "intermediate_size"):
        yield f"the configuration of a {encoder.config.model_type} has no intermediate_size"
    embedding_size = encoder.get_input_embeddings().weight.shape[1]
    if weights.mlm and embedding_size != size:
        yield f"its token embeddings have size {embedding_size} and its outputs {size}, so it cannot predict tokens"


def _block(section: MulapConfig, text_tower: TextTower, *, audio: bool, text: bool) -> CoAttentionBlock:
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
