"""The model of contrastive learning on audio alone: an audio encoder and its projection head (SemiSupCon)."""

from collections.abc import Iterator

from torch import Tensor, nn

from mulan.config.recipe import Recipe
from mulan.config.sections import SemiSupConConfig
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.outputs import Embeddings, unit_rows


class ViewHead(nn.Module):
    """Two linear layers without bias and a ReLU between them; in training only, no part of what is exported."""

    def __init__(self, input_dim: int, section: SemiSupConConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_dim, section.head_hidden_size, bias=False),
            nn.ReLU(),
            nn.Linear(section.head_hidden_size, section.head_dim, bias=False),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """float32 [..., input_dim] to unit rows, [..., head_dim]."""
        return unit_rows(self.layers(pooled))


class ViewModel(nn.Module):
    """Waveforms to unit vectors, one for each view of a recording. The head is float32 in any precision."""

    def __init__(self, audio_encoder: AudioEncoder, view_head: ViewHead) -> None:
        super().__init__()
        self.audio_encoder = audio_encoder
        self.view_head = view_head

    def forward(self, waveform: Tensor) -> Embeddings:
        """Embeds the views of m recordings. Never waits for the device.

        Args:
            waveform: int16 or float in [-1, 1], [m, views, window_samples].
        """
        pooled = self.audio_encoder(waveform.flatten(0, 1)).unflatten(0, waveform.shape[:2])
        return Embeddings(audio=None, text=None, temperature=None, views=self.view_head(pooled))

    def warm_started_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters whose first values were trained before: those of an audio tower with a warm start."""
        return self.audio_encoder.warm_started_parameters()


def build_view_model(recipe: Recipe) -> ViewModel:
    """A recipe's audio encoder and projection head, drawn from torch's default generator.

    Raises:
        PretrainedError: the recipe's pretrained audio tower cannot be used.
    """
    audio_encoder = AudioEncoder.from_recipe(recipe)
    return ViewModel(audio_encoder, ViewHead(audio_encoder.output_dim, recipe.semisupcon))
