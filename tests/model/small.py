"""Small models: audio towers with one layer of a pretrained text encoder, or with a tiny random one."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from mulan.benchmarks.synthetic import synthetic_batch
from mulan.config.audio import AstTowerConfig, ResNetTowerConfig, VggishFrontEndConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import DataConfig, TextTowerConfig
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.model.joint import JointModel
from mulan.model.mulap import FusionModel
from mulan.model.towers.text import TextTower as TextEncoder
from mulan.recipes.miniature import MINILM
from mulan.recipes.registry import load_recipe
from mulan.tasks.joint import JointTask
from mulan.tasks.mulap import MulapTask

RESNET = ResNetTowerConfig(layer="basic", stem_channels=4, stem_stride=2, stage_channels=(4, 8), stage_depths=(1, 1))
AST = AstTowerConfig(hidden_size=16, layers=1, heads=2, feed_forward_size=32, patch_size=8, patch_stride=6)


def small_recipe(audio_tower: ResNetTowerConfig | AstTowerConfig) -> Recipe:
    """Returns a recipe with windows of 0.5 s and 24 dimensions."""
    return Recipe(
        data=DataConfig(window_s=0.5),
        front_end=VggishFrontEndConfig(mel_channels=20, frequency_mask_bins=5, time_mask_frames=10),
        audio_tower=audio_tower,
        text_tower=TextTowerConfig(pretrained=MINILM, layers=1, max_tokens=12),
        embedding_dim=24,
    )


def small_mulap(*settings: str) -> Recipe:
    """Returns a MuLaP recipe: three segments of 0.25 s, five pairs, about half of all segments and tokens masked."""
    small = (
        "data.window_s=0.75",
        "mulap.segment_s=0.25",
        "mulap.token_mask_probability=0.5",
        "mulap.segment_mask_probability=0.6",
        "mulap.audio_size=10",
        "mulap.audio_heads=5",
        "mulap.fusion_size=12",
        "mulap.fusion_heads=2",
        "mulap.audio_feed_forward_size=14",
        "front_end.mel_channels=16",
        "audio_tower.vertical_channels=3",
        "audio_tower.horizontal_channels=2",
        "audio_tower.dense_channels=3",
        "batch.pairs_per_micro_batch=5",
    )
    return load_recipe("mulap_miniature", [*small, *settings])


def export_untrained(recipe: Recipe, folder: Path) -> tuple[JointModel, Path]:
    """Exports a random joint model of windows of 0.5 s, and returns it with the folder."""
    torch.manual_seed(0)
    model = JointTask(recipe).build_model()
    model.train()
    with torch.no_grad():  # changes the running statistics of batch norm from their initial values
        model.embed_audio(torch.randint(-9999, 9999, (4, 8000), dtype=torch.int16))
    JointTask(recipe).export(model, folder)
    return model, folder


def tiny_text_tower(layers: int = 1) -> TextEncoder:
    """Builds a text encoder with 8 features from torch's default generator."""
    config = BertConfig(
        vocab_size=20_000, hidden_size=8, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=18
    )
    return TextEncoder(BertModel(config, add_pooling_layer=False))


def small_fusion_model(recipe: Recipe) -> FusionModel:
    """Builds a fusion model with a tiny text encoder in evaluation mode; all weights are random."""
    torch.manual_seed(0)
    model = MulapTask(recipe).build_model(tiny_text_tower(recipe.text_tower.layers)).eval()
    for name, parameter in model.named_parameters():
        if not name.startswith(("audio_encoder", "text_tower")):
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def noise(recipe: Recipe) -> DeviceBatch:
    """Returns a micro-batch of noise on the CPU."""
    return to_device(synthetic_batch(recipe, step=1, micro_batch=0, tokens=0), torch.device("cpu"), text_groups=1)
