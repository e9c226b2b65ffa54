"""Co-attentional transformer layers: queries of one modality, keys and values of the other (MuLaP §2.1, equation 1)."""

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mulan.config.sections import Mulap


class CoAttentionLayer(nn.Module):
    """BERT's layer with keys and values of another sequence: attention and feed-forward network, each with a shortcut
    and a layer norm after it."""

    def __init__(self, section: Mulap, *, size: int, other_size: int, feed_forward_size: int) -> None:
        """
        Args:
            size: of this modality's stream.
            other_size: of the other's.
        """
        super().__init__()
        self.heads, self.dropout_share = section.fusion_heads, section.dropout
        self.query = nn.Linear(size, section.fusion_size)
        # without a bias, which changes nothing: see mulan.model.attention
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
        """
        Args:
            own: [m, n, size].
            other: [m, k, other_size].
            other_mask: bool [m, k], False where there is nothing to attend to; None where all of it counts.

        Returns:
            [m, n, size].
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
            dropout_p=self.dropout_share if self.training else 0.0,
        )
        own = self.output_norm(own + self.dropout(self.output(attended.transpose(1, 2).flatten(2))))
        updated: Tensor = self.feed_forward_norm(own + self.dropout(self.feed_forward(own)))
        return updated


class CoAttentionBlock(nn.Module):
    """A layer for each modality, both of which read what the other one was before."""

    def __init__(self, audio: CoAttentionLayer | None, text: CoAttentionLayer | None) -> None:
        """None for a modality whose output nothing reads: it stays as it is."""
        super().__init__()
        self.audio, self.text = audio, text

    def forward(self, audio: Tensor, text: Tensor, text_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Streams [m, 1 + segments, audio size] and [m, L, text size], and bool [m, L], to streams of these shapes."""
        return (
            audio if self.audio is None else self.audio(audio, text, text_mask),
            text if self.text is None else self.text(text, audio),
        )
