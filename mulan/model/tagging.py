"""The model of tagging by logistic regression, which pretrains the audio tower (MuLan §3.2)."""

from torch import Tensor, nn

from mulan.model.audio_encoder import AudioEncoder, TrainedModel


class TaggingModel(TrainedModel):
    """An audio encoder and a linear classifier with one logit per class. The classifier is float32 in any precision."""

    def __init__(self, audio_encoder: AudioEncoder, *, classes: int) -> None:
        """Initialises the classifier from torch's default generator."""
        super().__init__()
        self.audio_encoder = audio_encoder
        self.classifier = nn.Linear(audio_encoder.output_dim, classes)

    def forward(self, waveform: Tensor) -> Tensor:
        """Computes the logits of m recordings, averaged over their views.

        Args:
            waveform: int16 or float in [-1, 1], [m, views, window_samples].

        Returns:
            Logits, float32 [m, classes].
        """
        recordings, views, _ = waveform.shape
        logits: Tensor = self.classifier(self.audio_encoder(waveform.flatten(0, 1)))
        return logits.view(recordings, views, -1).mean(dim=1)
