"""Small, randomly initialised audio encoders of ``transformers``, saved with their feature extractors."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertConfig,
    HubertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from mulan.config.audio import PretrainedFrontEndConfig, PretrainedTowerConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import DataConfig, TextTowerConfig
from mulan.recipes.miniature import MINILM

WINDOW_S = 0.5
LAYERS = 2
HIDDEN_SIZE = 16

_TRANSFORMER = {
    "hidden_size": HIDDEN_SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
_SPEECH: dict[str, Any] = {
    **_TRANSFORMER,
    "conv_dim": (8, 6),
    "conv_kernel": (10, 4),
    "conv_stride": (40, 4),
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 2,
    # as in the public checkpoints: masks, LayerDrop and dropout in training
    "mask_time_prob": 0.5,
    "layerdrop": 0.5,
}
_WHISPER = {
    "d_model": HIDDEN_SIZE,
    "encoder_layers": LAYERS,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "num_mel_bins": 20,
    "max_source_positions": 50,
    "vocab_size": 60,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
}
_CLAP = {
    "patch_embeds_hidden_size": 8,
    "depths": (2, 1),
    "num_attention_heads": (2, 2),
    "num_mel_bins": 16,
    "spec_size": 64,
    "window_size": 4,
    "hidden_size": HIDDEN_SIZE,
    "num_hidden_layers": 2,
    "fusion_type": None,
    "aff_block_r": 2,
}
_CLAP_TEXT = {**_TRANSFORMER, "vocab_size": 30}
_AST = {**_TRANSFORMER, "patch_size": 8, "frequency_stride": 6, "time_stride": 6, "max_length": 60, "num_mel_bins": 20}


class Small(NamedTuple):
    """A kind of checkpoint."""

    network: Any
    """Function that builds the network that is saved, in some kinds from other sizes than the small ones."""
    extractor: Any
    """Function that builds its feature extractor."""
    encoder: str = ""
    """Name of the audio encoder within the network; empty if the network is one."""


def _clap(**settings: Any) -> ClapModel:
    audio = ClapAudioConfig(**_CLAP | settings)
    return ClapModel(ClapConfig(audio_config=audio.to_dict(), text_config=_CLAP_TEXT, projection_dim=8))


def _clap_extractor(**settings: Any) -> ClapFeatureExtractor:
    return ClapFeatureExtractor(
        feature_size=16, hop_length=192, max_length_s=1, fft_window_size=512, frequency_max=14_000, **settings
    )


SMALL = {
    "hubert": Small(lambda **sizes: HubertModel(HubertConfig(**_SPEECH | sizes)), lambda: Wav2Vec2FeatureExtractor()),
    "hubert_large": Small(
        lambda **sizes: HubertModel(
            HubertConfig(**_SPEECH | sizes, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
        ),
        lambda: Wav2Vec2FeatureExtractor(),
    ),
    "wav2vec2": Small(
        lambda: Wav2Vec2ForCTC(Wav2Vec2Config(**_SPEECH, vocab_size=40)),
        lambda: Wav2Vec2FeatureExtractor(do_normalize=False),
        "wav2vec2",
    ),
    "data2vec": Small(
        lambda: Data2VecAudioModel(Data2VecAudioConfig(**_SPEECH | {"num_conv_pos_embeddings": 2})),
        lambda: Wav2Vec2FeatureExtractor(),
    ),
    "whisper": Small(
        lambda **sizes: WhisperModel(WhisperConfig(**_WHISPER | sizes)),
        lambda: WhisperFeatureExtractor(feature_size=20, chunk_length=1),
        "encoder",
    ),
    "clap": Small(lambda **sizes: _clap(**sizes), lambda: _clap_extractor(truncation="rand_trunc"), "audio_model"),
    "clap_fused": Small(lambda **sizes: _clap(enable_fusion=True, **sizes), lambda: _clap_extractor(), "audio_model"),
    "ast": Small(
        lambda **sizes: ASTModel(ASTConfig(**_AST | sizes)),
        lambda: ASTFeatureExtractor(num_mel_bins=20, max_length=60, mean=-3.0, std=2.5),
    ),
}
RATES_HZ = dict.fromkeys(SMALL, 16_000) | {"clap": 48_000, "clap_fused": 48_000}


def save_checkpoint(kind: str, folder: Path, *, licence: str = "cc-by-nc-4.0", **sizes: Any) -> str:
    """Saves a checkpoint with a model card, and returns its folder. All parameters are random, biases included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: PreTrainedModel = SMALL[kind].network(**sizes).eval()
        for parameter in network.parameters():
            if parameter.ndim == 1 or not parameter.any():
                parameter.data += 0.2 * torch.randn_like(parameter)
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            nn.init.uniform_(norm.running_mean, -10.0, 10.0)
            nn.init.uniform_(norm.running_var, 50.0, 150.0)
    network.save_pretrained(folder)
    SMALL[kind].extractor().save_pretrained(folder)
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A model\n")
    return str(folder)


def save_mert(folder: Path, **settings: Any) -> str:
    """Saves a HuBERT in the form of MERT's checkpoints, whose configuration names code of their own."""
    save_checkpoint("hubert", folder)
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "mert_model", "auto_map": {"AutoModel": "modeling_MERT.MERTModel"}, "deepnorm": False}
    (folder / "config.json").write_text(json.dumps({**config, **own, "feature_extractor_cqt": False, **settings}))
    (folder / "modeling_MERT.py").write_text("raise RuntimeError('this code must not run')\n")
    return str(folder)


def reference(kind: str, spec: str) -> tuple[PreTrainedModel, Any]:
    """Returns the encoder and the extractor that ``transformers`` loads from a folder of :func:`save_checkpoint`."""
    network = type(SMALL[kind].network()).from_pretrained(spec).eval()
    encoder = getattr(network, SMALL[kind].encoder) if SMALL[kind].encoder else network
    return encoder, type(SMALL[kind].extractor()).from_pretrained(spec)


def checkpoint_recipe(kind: str, spec: str, **tower: Any) -> Recipe:
    """Returns a recipe with windows of 0.5 s, for a folder of :func:`save_checkpoint`."""
    return Recipe(
        data=DataConfig(window_s=WINDOW_S, sample_rate_hz=RATES_HZ[kind]),
        front_end=PretrainedFrontEndConfig(),
        audio_tower=PretrainedTowerConfig(pretrained=spec, **tower),
        text_tower=TextTowerConfig(pretrained=MINILM, layers=1, max_tokens=12),
        embedding_dim=24,
    )
