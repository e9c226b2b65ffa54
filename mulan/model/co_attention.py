"""The layers in which MuLaP's audio and text streams attend to each other and to themselves (MuLaP §2.1)."""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class AttentionLayer(nn.Module):
    """A BERT layer whose keys and values come from another stream, or from its own in self-attention.

    Attention and feed-forward network are each followed by a residual connection and a layer norm. Weights are drawn
    as torch draws them by default, as in the code of MuLaP's authors; ViLBERT draws them from N(0, 0.02).
    """

    def __init__(
        self, *, size: int, other_size: int, attention_size: int, heads: int, feed_forward_size: int, dropout: float
    ) -> None:
        """
        Args:
            size: Hidden size of the stream that is updated.
            other_size: Hidden size of the stream that it attends to.
            attention_size: Size of queries, keys and values, over all heads.
            heads: Number of attention heads.
            feed_forward_size: Size of the feed-forward layer.
            dropout: Dropout probability of attention weights, and before each residual connection.
        """
        super().__init__()
        self.heads, self.dropout_p = heads, dropout
        self.query = nn.Linear(size, attention_size)
        # a bias would have no effect: see mulan.model.towers.pretrained_networks
        self.key = nn.Linear(other_size, attention_size, bias=False)
        self.value = nn.Linear(other_size, attention_size)
        self.output = nn.Linear(attention_size, size)
        self.output_norm = nn.LayerNorm(size)
        self.feed_forward = nn.Sequential(
            nn.Linear(size, feed_forward_size), nn.GELU(), nn.Linear(feed_forward_size, size)
        )
        self.feed_forward_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, own: Tensor, other: Tensor, other_mask: Tensor | None = None) -> Tensor:
        """Updates a stream.

        Args:
            own: The stream, [m, n, size].
            other: The stream that it attends to, [m, k, other_size]; ``own`` itself for self-attention.
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


class FusionBlock(nn.Module):
    """Co-attention of both modalities, applied to the same inputs, followed by self-attention of the audio stream.

    The self-attention of the text stream is that of the pretrained text encoder, which holds its layers.
    """

    def __init__(
        self, audio: AttentionLayer | None, text: AttentionLayer | None, audio_layers: Iterable[AttentionLayer] = ()
    ) -> None:
        """
        Args:
            audio, text: Co-attention of each modality. None if the output of the modality is not used; its stream is
                then passed through unchanged.
            audio_layers: Self-attention layers of the audio stream.
        """
        super().__init__()
        self.audio, self.text, self.audio_layers = audio, text, nn.ModuleList(audio_layers)

    def forward(self, audio: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both streams, [m, 1 + segments, audio size] and [m, L, text size]; ``text_mask`` is bool [m, L]."""
        new_audio = audio if self.audio is None else self.audio(audio, text, text_mask)
        new_text = text if self.text is None else self.text(text, audio)
        for layer in self.audio_layers:
            new_audio = layer(new_audio, new_audio)
        return new_audio, new_text
