"""Building and export of the audio encoder, which all tasks train."""

from pathlib import Path
from typing import Any

from torch import nn

from mulan.config.audio import PretrainedTowerConfig, without_pretrained
from mulan.config.recipe import Recipe
from mulan.model.audio_encoder import AudioEncoder
from mulan.model.inference.files import CheckpointConfig, EncoderConfig, write_model
from mulan.model.towers.audio_checkpoint import AudioCheckpoint
from mulan.model.towers.pretrained_audio import PretrainedAudioTower
from mulan.model.warm_start import warm_start


def encoder_from_recipe(recipe: Recipe) -> AudioEncoder:
    """Builds the audio encoder of a recipe, with the pretrained weights that the tower's section specifies.

    It consumes the same random numbers with and without a warm start.

    Raises:
        PretrainedError: The tower's pretrained weights cannot be used.
    """
    tower, checkpoint = recipe.audio_tower, None
    if isinstance(tower, PretrainedTowerConfig):
        checkpoint = AudioCheckpoint.load(
            tower, sample_rate_hz=recipe.data.sample_rate_hz, window_samples=recipe.encoder_window_samples
        )
    encoder = AudioEncoder(
        sample_rate_hz=recipe.data.sample_rate_hz,
        window_samples=recipe.encoder_window_samples,
        front_end=recipe.front_end,
        audio_tower=tower,
        checkpoint=checkpoint,
        augmentation=recipe.semisupcon.augmentation if recipe.loss.weights.semisupcon else None,
        precision=recipe.train.precision,
    )
    if tower.pretrained and not isinstance(encoder.tower, PretrainedAudioTower):
        warm_start(
            encoder.tower,
            tower,
            front_end=recipe.front_end,
            sample_rate_hz=recipe.data.sample_rate_hz,
        )
    return encoder


def exported_fields(encoder: AudioEncoder, recipe: Recipe) -> dict[str, Any]:
    """Returns the fields of :class:`mulan.model.inference.files.ExportedConfig` for a model with this encoder."""
    checkpoint = encoder.checkpoint
    return {
        "sample_rate_hz": recipe.data.sample_rate_hz,
        "window_samples": recipe.encoder_window_samples,
        "front_end": recipe.front_end,
        "audio_tower": without_pretrained(recipe.audio_tower),
        "checkpoint": None
        if checkpoint is None
        else CheckpointConfig(
            network=checkpoint.network_values,
            feature_extractor=checkpoint.extractor_values,
            licence=checkpoint.licence.name,
            licence_text=checkpoint.licence.text,
        ),
    }


def export_encoder(encoder: AudioEncoder, recipe: Recipe, folder: Path) -> None:
    """Writes an audio encoder for :class:`mulan.AudioBackbone`, and for the ``audio_tower.pretrained`` of other runs.

    Other runs cannot start from one whose tower is of the family ``pretrained``.

    Args:
        encoder: The encoder of a model that was built from the recipe, with unsharded weights.
        folder: A local folder; created if necessary.
    """
    config = EncoderConfig(**exported_fields(encoder, recipe))
    write_model(nn.ModuleDict({"audio_encoder": encoder}).state_dict(), config, folder)
