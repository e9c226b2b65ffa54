"""Small, randomly initialised Audio Spectrogram Transformers with a classifier, saved with their feature extractors."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

LABELS = ("Speech", "Music", "Musical instrument", "/m/unnamed")


def save_ast(folder: Path, *, labels: tuple[str, ...] = LABELS, max_length: int = 60, **settings: Any) -> str:
    """Saves a checkpoint as the public ones are, with a model card, and with code that must not run."""
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        patch_size=8,
        frequency_stride=6,
        time_stride=6,
        max_length=max_length,
        num_mel_bins=20,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ASTForAudioClassification(config).eval()
        for parameter in network.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    extractor = ASTFeatureExtractor(num_mel_bins=20, max_length=max_length, mean=-3.0, std=2.5)
    extractor.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: bsd-3-clause\n---\n# A model\n")
    (folder / "modeling_own.py").write_text("raise RuntimeError('this code must not run')\n")
    change(folder / "config.json", auto_map={"AutoModelForAudioClassification": "modeling_own.Model"}, **settings)
    return str(folder)


def change(file: Path, **values: Any) -> None:
    """Changes values of a JSON file; None removes one."""
    changed = json.loads(file.read_text()) | values
    file.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))
