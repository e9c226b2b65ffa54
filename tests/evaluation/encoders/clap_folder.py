"""Small, randomly initialised folders of ``ClapModel``, saved with a processor."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

MAX_TOKENS = 12
DIM = 8
_AUDIO = {
    "patch_embeds_hidden_size": 8,
    "depths": [2, 1],
    "num_attention_heads": [2, 2],
    "num_mel_bins": 16,
    "spec_size": 64,
    "window_size": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "aff_block_r": 2,
}
_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 300,
    "max_position_embeddings": MAX_TOKENS + 2,
}
_EXTRACTOR = {
    "feature_size": 16,
    "sampling_rate": 24_000,
    "hop_length": 96,
    "max_length_s": 1,
    "fft_window_size": 256,
    "frequency_max": 11_000,
}
SENTENCES = (
    "a calm piano piece",
    "loud guitars and drums for dancing all night long in a crowded and noisy club by the sea",
    "music",
    "",
    "a slow song, sung by a choir",
)


def save_clap(folder: Path, *, fusion: bool = False, licence: str = "apache-2.0", **settings: Any) -> Path:
    """Saves a model whose parameters are all random, biases included, and returns its folder.

    Args:
        fusion: Whether the model fuses several spectrograms of a recording that is longer than a window.
        licence: Licence in the model card; without a card if empty.
        settings: Further values of the feature extractor.
    """
    truncation = "fusion" if fusion else "rand_trunc"
    config = ClapConfig(
        audio_config={**_AUDIO, "enable_fusion": fusion, "num_mel_bins": settings.get("feature_size", 16)},
        text_config=_TEXT,
        projection_dim=DIM,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ClapModel(config).eval()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            nn.init.uniform_(norm.running_mean, -10.0, 10.0)
            nn.init.uniform_(norm.running_var, 50.0, 150.0)
    model.save_pretrained(folder)
    extractor = ClapFeatureExtractor(**{**_EXTRACTOR, "truncation": truncation, **settings})
    ClapProcessor(extractor, _tokenizer(folder)).save_pretrained(folder)
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A model\n")
    return folder


def _tokenizer(folder: Path) -> RobertaTokenizer:
    vocabulary = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary.train_from_iterator(SENTENCES, vocab_size=300, min_frequency=1, special_tokens=special)
    vocabulary.save_model(str(folder))
    files = folder / "vocab.json", folder / "merges.txt"
    tokenizer = RobertaTokenizer(*map(str, files), model_max_length=512)
    for file in files:  # save_pretrained writes tokenizer.json
        file.unlink()
    return tokenizer
