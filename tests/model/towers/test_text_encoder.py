"""Tests encoders of many kinds as text towers against the networks of transformers with their own masks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from mulan.config.sections import Pooling
from mulan.model.deterministic import deterministic_kernels
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_lengths import length_groups
from mulan.storage.hub import PretrainedError
from tests.model.encoders import POOLED, drawn, encoder_of, saved, section_of, tokens_of


def by_loops(outputs: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pools each text by itself."""
    lengths = mask.sum(dim=1).tolist()
    texts = [text[:length] for text, length in zip(outputs, lengths, strict=True)]
    return torch.stack([{"cls": text[0], "mean": text.mean(dim=0), "last": text[-1]}[pooling] for text in texts])


@pytest.mark.parametrize(("kind", "pooling"), POOLED)
def test_the_sentence_is_the_network_s_own(kind: str, pooling: Pooling, tmp_path: Path) -> None:
    network = drawn(kind)
    section = section_of(saved(network, tmp_path), pooling=pooling)
    tower, (token_ids, mask) = TextTower.from_section(section).eval(), tokens_of(section)
    with torch.no_grad():
        outputs = encoder_of(network)(input_ids=token_ids, attention_mask=mask).last_hidden_state
        expected = by_loops(outputs, mask, pooling)
        torch.testing.assert_close(tower(token_ids, mask), expected, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(tower(token_ids, mask, length_groups(mask, 2)), expected, atol=2e-6, rtol=1e-5)
        again = TextTower.from_config(json.loads(json.dumps(tower.config)), pooling=pooling).eval()
        again.load_state_dict(tower.state_dict())
        assert torch.equal(again(token_ids, mask), tower(token_ids, mask))


@pytest.mark.parametrize(("kind", "pooling"), POOLED)
def test_every_trained_parameter_has_a_true_gradient(kind: str, pooling: Pooling, tmp_path: Path) -> None:
    section = section_of(saved(drawn(kind), tmp_path), pooling=pooling)
    tower = TextTower.from_section(section).double().eval()
    with deterministic_kernels(True):
        output = tower(*tokens_of(section))
        (output * torch.randn_like(output)).sum().backward()
    trained = {name: parameter for name, parameter in tower.named_parameters() if parameter.requires_grad}
    for name, parameter in trained.items():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-9, name


STACKS = {
    "deberta": ("embeddings", "encoder.layer"),
    "deberta-v2": ("embeddings", "encoder.layer"),
    "distilbert": ("embeddings", "transformer.layer"),
    "gemma3_text": ("embed_tokens", "layers"),
    "gpt2": ("wte", "h"),
    "llama": ("embed_tokens", "layers"),
    "modernbert": ("embeddings", "layers"),
    "mpnet": ("embeddings", "encoder.layer"),
    "qwen3": ("embed_tokens", "layers"),
    "t5": ("embed_tokens", "block"),
    "umt5": ("embed_tokens", "block"),
    "xlnet": ("word_embedding", "layer"),
}
"""Names of the embeddings and of the list of layers."""


@pytest.mark.parametrize("kind", STACKS)
def test_layers_of_any_name_are_kept_and_frozen_from_the_bottom(kind: str, tmp_path: Path) -> None:
    section = section_of(saved(drawn(kind), tmp_path), pooling="mean")
    token_ids, mask = tokens_of(section)
    with torch.no_grad():
        shorter = encoder_of(AutoModel.from_pretrained(tmp_path, num_hidden_layers=1)).eval()
        outputs = shorter(input_ids=token_ids, attention_mask=mask).last_hidden_state
        kept = TextTower.from_section(section.replace(layers=1)).eval()
        torch.testing.assert_close(kept(token_ids, mask), by_loops(outputs, mask, "mean"), atol=2e-6, rtol=1e-5)
    embeddings, stack = STACKS[kind]
    frozen_prefixes = (f"encoder.{embeddings}.", f"encoder.{stack}.0.")
    tower = TextTower.from_section(section.replace(frozen_layers=1)).train()
    for name, parameter in tower.named_parameters():
        assert parameter.requires_grad != name.startswith(frozen_prefixes), name
    assert not tower.get_submodule(f"encoder.{stack}.0").training
    assert tower.get_submodule(f"encoder.{stack}.1").training
    with pytest.raises(PretrainedError, match="frozen_layers = 3, but it has 2 layers"):
        TextTower.from_section(section.replace(frozen_layers=3))


def test_shared_layers_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="frozen_layers = 1, but it has no list of layers"):
        TextTower.from_section(section_of(saved(drawn("albert"), tmp_path)).replace(frozen_layers=1))


@pytest.mark.parametrize("kind", ["t5", "mt5", "umt5"])
def test_the_encoder_of_a_network_with_a_decoder_is_used_alone(kind: str, tmp_path: Path) -> None:
    """Its tokenizer adds only an end token, so that its outputs are averaged."""
    spec = saved(drawn(kind), tmp_path, template="$A [SEP]")
    tower = TextTower.from_section(section_of(spec, pooling="mean"))
    assert not [name for name in tower.state_dict() if "decoder" in name]
    names = [name for name in tower.state_dict() if name.endswith(("shared.weight", "embed_tokens.weight"))]
    assert names == ["encoder.embed_tokens.weight"]
    with pytest.raises(PretrainedError, match=r"no special token before a text.* mean and last need no"):
        TextTower.from_section(section_of(spec))


@pytest.mark.parametrize("kind", ["layoutlm", "squeezebert"])
def test_networks_that_cannot_do_without_their_pooler(kind: str, tmp_path: Path) -> None:
    """They are probed without a pooler, as in the tower."""
    with pytest.raises(PretrainedError, match="cannot be run on"):
        TextTower.from_section(section_of(saved(drawn(kind, embedding_size=16), tmp_path)))


def test_networks_with_a_decoder_whose_encoder_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="model type is 'bart', an encoder with a decoder"):
        TextTower.from_section(section_of(saved(drawn("bart"), tmp_path)))


def test_a_tokenizer_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="has token id 39, but the network has only 30 token embeddings"):
        TextTower.from_section(section_of(saved(drawn("bert", vocab_size=30), tmp_path)))
    saved(drawn("bert"), tmp_path, words=30)
    TextTower.from_section(section_of(str(tmp_path)))


@pytest.mark.parametrize(
    "changed",
    [
        [1], None, {"model_type": ["bert"]}, {"model_type": "vit"}, {"hidden_size": -16}, {"hidden_size": "16"},
        {"num_attention_heads": 0}, {"num_hidden_layers": 0}, {"num_hidden_layers": 10**9}, {"hidden_size": 10**9},
        {"vocab_size": 10**12}, {"vocab_size": 10**30}, {"hidden_act": "none"}, {"hidden_size": 8},
        {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_configuration(changed: Any, tmp_path: Path) -> None:
    saved(drawn("bert"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    content = {**config, **changed} if isinstance(changed, dict) else changed
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "mine.py").write_text("raise SystemExit('code of the folder is run')")
    with pytest.raises(PretrainedError) as caught:
        TextTower.from_section(section_of(str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert "BERT, RoBERTa" in str(caught.value)
