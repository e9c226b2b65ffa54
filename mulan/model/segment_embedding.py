"""The audio stream of MuLaP's fusion model (Manco et al. 2022, §2.1) as it enters the first block."""

import torch
from torch import Tensor, nn

from mulan.config.sections import Mulap


class SegmentEmbedding(nn.Module):
    """Features of segments to the audio stream, with a global token in front and learned positions (§2.1)."""

    def __init__(self, section: Mulap, *, features: int, segments: int) -> None:
        super().__init__()
        self.projection = nn.Linear(features, section.audio_size)
        self.positions = nn.Parameter(torch.empty(1 + segments, section.audio_size))
        self.norm = nn.LayerNorm(section.audio_size)
        self.dropout = nn.Dropout(section.dropout)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, features: Tensor, hidden: Tensor) -> Tensor:
        """
        Args:
            features: [m, segments, features].
            hidden: [m, segments], 1 where a feature is replaced by zeros.

        Returns:
            [m, 1 + segments, audio size]. The first, a_0, is the mean of the segments that are not hidden: a mean over
            all of them, less those that are seen, would tell what is hidden. Where all are, it is zero as well.
        """
        seen = (1 - hidden).unsqueeze(-1).to(features.dtype)
        left = features * seen
        mean = left.sum(dim=1, keepdim=True) / seen.sum(dim=1, keepdim=True).clamp_min(1)
        stream = self.projection(torch.cat([mean, left], dim=1)) + self.positions
        embedded: Tensor = self.dropout(self.norm(stream))
        return embedded
