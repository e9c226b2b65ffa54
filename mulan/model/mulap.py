"""MuLaP's model: audio segments and tokens that attend to and predict each other (Manco et al. 2022).

Only the audio encoder is used after training (§3.2).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mulan.config.objectives import LossWeightsConfig, MulapConfig
from mulan.model.audio_encoder import AudioEncoder, Precision, TrainedModel, tower_autocast
from mulan.model.co_attention import AttentionLayer, FusionBlock
from mulan.model.outputs import MaskedPositions, Predictions
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_layers import layers_of
from mulan.model.towers.text_probe import layers_run_alone
from mulan.storage.hub import PretrainedError


class SegmentEmbedding(nn.Module):
    """Embeds segment features as the audio stream, with a global token in front and learned positions (§2.1).

    Positions are drawn from N(0, 1), as torch draws embeddings by default and as in the authors' code.
    """

    def __init__(self, section: MulapConfig, *, features: int, segments: int) -> None:
        super().__init__()
        self.projection = nn.Linear(features, section.audio_size)
        self.positions = nn.Parameter(torch.empty(1 + segments, section.audio_size))
        self.norm = nn.LayerNorm(section.audio_size)
        self.dropout = nn.Dropout(section.dropout)
        nn.init.normal_(self.positions)

    def forward(self, features: Tensor, masked: Tensor) -> Tensor:
        """Embeds the features of m windows.

        Args:
            features: [m, segments, features].
            masked: [m, segments], 1 for segments whose features are masked, that is, replaced by zeros.

        Returns:
            The audio stream [m, 1 + segments, audio size]. The global token is computed from the mean of the visible
            segments, and is zero if all are masked. The authors' code takes the mean of all segments, without gradient,
            from which a masked feature can be calculated: if one segment is masked, it is the sum of all less that of
            the visible ones.
        """
        visible = (1 - masked).unsqueeze(-1).to(features.dtype)
        kept = features * visible
        mean = kept.sum(dim=1, keepdim=True) / visible.sum(dim=1, keepdim=True).clamp_min(1)
        stream = self.projection(torch.cat([mean, kept], dim=1)) + self.positions
        embedded: Tensor = self.dropout(self.norm(stream))
        return embedded


class FusionModel(TrainedModel):
    """Computes :class:`Predictions` from waveforms and token ids (MuLaP §2.1).

    The order of the layers is that of ViLBERT, which the code of MuLaP's authors follows: each co-attention layer is
    followed by a self-attention layer in both streams, and the last one by all remaining layers of the audio stream.
    """

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
            text_tower: A tower that passes :func:`check_text_tower`. Its last ``section.fusion_layers`` layers become
                those that follow co-attention.
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
        text_tower.split(section.fusion_layers)
        uses_text = weights.mlm > 0 or weights.atm > 0
        if not uses_text:
            del text_tower.upper_layers[-1]
        self.blocks = _blocks(section, text_tower, audio=weights.mam > 0 or weights.atm > 0, text=uses_text)
        self.token_head = TokenHead(text_tower) if weights.mlm else None
        self.segment_head = SegmentHead(section, features) if weights.mam else None
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
            for number, block in enumerate(self.blocks):
                audio, text = block(audio, text, mask)
                if number < len(self.text_tower.upper_layers):
                    text = self.text_tower.upper_layer(number, text, attention_mask)
        audio, text = audio.float(), text.float()
        tokens = text.flatten(0, 1)[masked.token_indices]
        masked_segments = audio[:, 1:].flatten(0, 1)[masked.segment_indices]
        return Predictions(
            token_logits=predict(self.token_head, tokens) if self.token_head else None,
            segments=predict(self.segment_head, masked_segments) if self.segment_head else None,
            # features before masking, which replaces them by zeros
            segment_features=features.detach().flatten(0, 1)[masked.segment_indices] if self.segment_head else None,
            match_logits=self.match_head(audio[:, 0], text[:, 0]) if self.match_head else None,
        )


def predict(head: nn.Module, rows: Tensor) -> Tensor:
    """Applies a head to rows [n, size], and to a single row twice.

    The rounding of the product of a matrix and a vector may depend on where the matrix lies in memory, and thus on the
    ZeRO stage; that of the product of two matrices does not.
    """
    predicted: Tensor = head(torch.cat([rows, rows]))[:1] if len(rows) == 1 else head(rows)
    return predicted


class TokenHead(nn.Module):
    """BERT's prediction head, whose last layer shares its weight with the token embeddings."""

    def __init__(self, text_tower: TextTower) -> None:
        super().__init__()
        size = text_tower.output_dim
        self.transform = _transform(size)
        self.bias = nn.Parameter(torch.zeros(text_tower.encoder.config.vocab_size))
        self._embeddings = (text_tower.encoder.get_input_embeddings(),)  # a tuple: not registered as a submodule

    def forward(self, tokens: Tensor) -> Tensor:
        """Computes logits [n, vocabulary] from float32 [n, size]."""
        return nn.functional.linear(self.transform(tokens), self._embeddings[0].weight, self.bias)


class SegmentHead(nn.Module):
    """Predicts a segment's feature: a linear layer (§2.2) after BERT's transform, as in the authors' code."""

    def __init__(self, section: MulapConfig, features: int) -> None:
        super().__init__()
        self.transform = _transform(section.audio_size)
        self.features = nn.Linear(section.audio_size, features)

    def forward(self, segments: Tensor) -> Tensor:
        """Computes [n, features] from float32 [n, audio size]."""
        predicted: Tensor = self.features(self.transform(segments))
        return predicted


def _transform(size: int) -> nn.Sequential:
    """Returns the layers with which BERT's prediction head begins."""
    return nn.Sequential(nn.Linear(size, size), nn.GELU(), nn.LayerNorm(size))


class MatchHead(nn.Module):
    """Computes a match logit from the elementwise product of the two projected global tokens (§2.2).

    As in the authors' code, each projection ends with tanh, where ViLBERT has ReLU and the paper names nothing, and
    dropout is applied to the product.
    """

    def __init__(self, section: MulapConfig, text_size: int) -> None:
        super().__init__()
        self.audio = nn.Linear(section.audio_size, section.fusion_size)
        self.text = nn.Linear(text_size, section.fusion_size)
        self.dropout = nn.Dropout(section.dropout)
        self.score = nn.Linear(section.fusion_size, 1)

    def forward(self, audio: Tensor, text: Tensor) -> Tensor:
        """Computes logits [m] from [m, audio size] and [m, text size]."""
        product = self.audio(audio).tanh() * self.text(text).tanh()
        logits: Tensor = self.score(self.dropout(product))
        return logits.squeeze(-1)


def check_text_tower(
    text_tower: TextTower, section: MulapConfig, weights: LossWeightsConfig, *, pretrained: str
) -> None:
    """Checks that a text encoder can be used in a fusion model.

    Args:
        weights: Loss weights of the recipe.
        pretrained: The recipe's ``text_tower.pretrained``, for the message.

    Raises:
        PretrainedError: The encoder does not meet all requirements; lists those that it does not meet.
    """
    faults = list(_unmet_requirements(text_tower, section, weights))
    if faults:
        raise PretrainedError(pretrained, faults, "Set text_tower.pretrained to a BERT or a RoBERTa.")


def _unmet_requirements(text_tower: TextTower, section: MulapConfig, weights: LossWeightsConfig) -> Iterator[str]:
    """Yields a message for each requirement that a text encoder does not meet."""
    encoder, size = text_tower.encoder, text_tower.output_dim
    if not hasattr(encoder.config, "intermediate_size"):
        yield f"the configuration of a {encoder.config.model_type} has no intermediate_size"
    embedding_size = encoder.get_input_embeddings().weight.shape[1]
    if weights.mlm and embedding_size != size:
        yield f"its token embeddings have size {embedding_size} and its outputs {size}, so it cannot predict tokens"
    layers = layers_of(encoder)
    if layers is not None and len(layers) < section.fusion_layers:
        yield f"it has {len(layers)} layers, fewer than mulap.fusion_layers = {section.fusion_layers}"
    elif not layers_run_alone(encoder):
        yield f"the layers of a {encoder.config.model_type} cannot be run one by one, with co-attention between them"


def _blocks(section: MulapConfig, text_tower: TextTower, *, audio: bool, text: bool) -> nn.ModuleList:
    """Builds the blocks, of which the last one has no layers of a modality whose final output is not used."""

    def layer(size: int, other_size: int, attention_size: int, heads: int, feed_forward_size: int) -> AttentionLayer:
        return AttentionLayer(
            size=size,
            other_size=other_size,
            attention_size=attention_size,
            heads=heads,
            feed_forward_size=feed_forward_size,
            dropout=section.dropout,
        )

    text_size, text_width = text_tower.output_dim, text_tower.encoder.config.intermediate_size
    size, width = section.audio_size, section.audio_feed_forward_size
    blocks = nn.ModuleList()
    for number in range(section.fusion_layers):
        last = number == section.fusion_layers - 1
        own_layers = section.audio_layers - number if last else 1
        has_audio, has_text = audio or not last, text or not last
        blocks.append(
            FusionBlock(
                layer(size, text_size, section.fusion_size, section.fusion_heads, width) if has_audio else None,
                layer(text_size, size, section.fusion_size, section.fusion_heads, text_width) if has_text else None,
                [layer(size, size, size, section.audio_heads, width) for _ in range(own_layers if has_audio else 0)],
            )
        )
    return blocks
