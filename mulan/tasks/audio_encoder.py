"""Building and export of the audio encoder, which all tasks train."""

from pathlib import Path
from typing import Any

from torch import nn

from mulan.config.audio import without_pretrained
from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.files import EncoderConfig, write_model
from mulan.model.warm_start import warm_start


def encoder_from_recipe(recipe: Recipe) -> AudioEncoder:
    """Builds the audio encoder of a recipe, with the pretrained weights that the tower's section specifies.

    It consumes the same random numbers with and without a warm start.

    Raises:
        PretrainedError: The tower's pretrained weights cannot be used.
    """
    encoder = AudioEncoder(
        sample_rate_hz=recipe.data.sample_rate_hz,
        window_samples=recipe.encoder_window_samples,
        front_end=recipe.front_end,
        audio_tower=recipe.audio_tower,
        augmentation=recipe.semisupcon.augmentation if recipe.loss.weights.semisupcon else None,
        precision=recipe.train.precision,
    )
    if recipe.audio_tower.pretrained:
        warm_start(
            encoder.tower,
            recipe.audio_tower,
            front_end=recipe.front_end,
            sample_rate_hz=recipe.data.sample_rate_hz,
        )
    return encoder


def exported_fields(recipe: Recipe) -> dict[str, Any]:
    """Returns the fields of :class:`mulan.model.inference.files.ExportedConfig` for models of a recipe."""
    return {
        "sample_rate_hz": recipe.data.sample_rate_hz,
        "window_samples": recipe.encoder_window_samples,
        "front_end": recipe.front_end,
        "audio_tower": without_pretrained(recipe.audio_tower),
    }


def export_encoder(encoder: AudioEncoder, recipe: Recipe, folder: Path) -> None:
    """Writes an audio encoder for :class:`mulan.AudioBackbone`, and for the ``audio_tower.pretrained`` of other runs.

    Args:
        encoder: The encoder of a model that was built from the recipe, with unsharded weights.
        folder: A local folder; created if necessary.
    """
    config = EncoderConfig(**exported_fields(recipe))
    write_model(nn.ModuleDict({"audio_encoder": encoder}).state_dict(), config, folder)
