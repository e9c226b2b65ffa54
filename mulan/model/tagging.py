"""Tagging by logistic regression, the pretraining of the audio tower (MuLan §3.2)."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from mulan.config.audio import without_pretrained
from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import AudioEncoder, TrainedModel
from mulan.model.inference.files import TaggerConfig, write_model


class TaggingModel(TrainedModel):
    """An audio encoder and a classifier with one logit per class, which is float32 in any precision."""

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


def build_tagging_model(recipe: Recipe) -> TaggingModel:
    """Builds a recipe's tagger, with an audio encoder and ``tagging.classes`` logits.

    Weights are initialised from torch's default generator.

    Raises:
        PretrainedError: The recipe's pretrained audio tower cannot be used.
    """
    return TaggingModel(AudioEncoder.from_recipe(recipe), classes=recipe.tagging.classes)


def export_tagger(model: TaggingModel, recipe: Recipe, classes: Sequence[str], folder: Path) -> None:
    """Writes ``config.json`` and ``model.safetensors``, which another run can use as ``audio_tower.pretrained``.

    Args:
        model: A model built from ``recipe``, with unsharded weights.
        classes: The tags, in the order of the logits.
        folder: Output folder, created if it does not exist.

    Raises:
        ValueError: The numbers of tags and logits differ.
    """
    if len(classes) != model.classifier.out_features:
        raise ValueError(f"{len(classes)} tags for {model.classifier.out_features} logits")
    config = TaggerConfig(
        sample_rate_hz=recipe.data.sample_rate_hz,
        window_samples=recipe.data.window_samples,
        front_end=recipe.front_end,
        audio_tower=without_pretrained(recipe.audio_tower),
        classes=tuple(classes),
    )
    write_model(model.state_dict(), config, folder)
