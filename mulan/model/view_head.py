"""The projection head of contrastive learning between views of audio (SemiSupCon; Chen et al. 2020)."""

from torch import Tensor, nn

from mulan.config.sections import SemiSupCon


class ViewHead(nn.Module):
    """Two linear layers without bias and a ReLU between them; in training only, no part of what is exported."""

    def __init__(self, input_dim: int, section: SemiSupCon) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_dim, section.head_hidden_size, bias=False),
            nn.ReLU(),
            nn.Linear(section.head_hidden_size, section.head_dim, bias=False),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """float32 [..., input_dim] to unit rows, [..., head_dim]."""
        return unit_rows(self.layers(pooled))


def unit_rows(rows: Tensor) -> Tensor:
    """[..., d] of length 1."""
    return nn.functional.normalize(rows, dim=-1)
