"""A recipe whose model is built in no time."""

from mulan.config.audio import ResNetTowerConfig, VggishFrontEndConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import DataConfig, TextTowerConfig
from mulan.recipes.miniature import MINILM

RECIPE = Recipe(
    data=DataConfig(window_s=0.5),
    front_end=VggishFrontEndConfig(mel_channels=16, frequency_mask_bins=2, time_mask_frames=4),
    audio_tower=ResNetTowerConfig(
        layer="basic", stem_channels=4, stem_stride=2, stage_channels=(4, 8), stage_depths=(1, 1)
    ),
    text_tower=TextTowerConfig(pretrained=MINILM, layers=1, max_tokens=16),
    embedding_dim=8,
)
