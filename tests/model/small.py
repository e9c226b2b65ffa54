"""Small models: one layer of a real pretrained text encoder, and audio towers of either family."""

from mulan.config.recipe import Recipe
from mulan.config.recipes import MINILM
from mulan.config.sections import AstTower, Data, ResNetTower, TextTower, VggishFrontEnd

RESNET = ResNetTower(layer="basic", stem_channels=4, stem_stride=2, stage_channels=(4, 8), stage_depths=(1, 1))
AST = AstTower(hidden_size=16, layers=1, heads=2, feed_forward_size=32, patch_size=8, patch_stride=6)


def small_recipe(audio_tower: ResNetTower | AstTower) -> Recipe:
    """Windows of 0.5 s, 24 dimensions."""
    return Recipe(
        data=Data(window_s=0.5),
        front_end=VggishFrontEnd(mel_channels=20, frequency_mask_bins=5, time_mask_frames=10),
        audio_tower=audio_tower,
        text_tower=TextTower(pretrained=MINILM, layers=1, max_tokens=12),
        embedding_dim=24,
    )
