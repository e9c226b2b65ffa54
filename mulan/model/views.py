"""The model of contrastive learning on audio alone (SemiSupCon): an audio encoder and a projection head."""

from torch import Tensor, nn

from mulan.config.objectives import SemiSupConConfig
from mulan.model.audio_encoder import AudioEncoder, TrainedModel
from mulan.model.outputs import Embeddings, unit_rows


class ViewHead(nn.Module):
    """The projection head: two linear layers without bias and a ReLU. It is used in training only and not exported."""

    def __init__(self, input_dim: int, section: SemiSupConConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_dim, section.head_hidden_size, bias=False),
            nn.ReLU(),
            nn.Linear(section.head_hidden_size, section.head_dim, bias=False),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """Projects float32 [..., input_dim] to unit rows [..., head_dim]."""
        return unit_rows(self.layers(pooled))


class ViewModel(TrainedModel):
    """An audio encoder and a projection head. The head is float32 in any precision."""

    def __init__(self, audio_encoder: AudioEncoder, view_head: ViewHead) -> None:
        super().__init__()
        self.audio_encoder = audio_encoder
        self.view_head = view_head

    def forward(self, waveform: Tensor) -> Embeddings:
        """Embeds the views of m recordings, without synchronising with the device.

        Args:
            waveform: int16 or float in [-1, 1], [m, views, window_samples].
        """
        pooled = self.audio_encoder(waveform)
        return Embeddings(audio=None, text=None, temperature=None, views=self.view_head(pooled))
