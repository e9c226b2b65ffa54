"""Tests encoders of many kinds as text towers against the networks of transformers with their own masks."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from mulan.config.sections import Pooling
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_lengths import length_groups
from mulan.storage.hub import PretrainedError
from tests.model.encoders import FIT, drawn, saved, section_of, tokens_of


def by_loops(outputs: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """Pools each text by itself."""
    lengths = mask.sum(dim=1).tolist()
    texts = [text[:length] for text, length in zip(outputs, lengths, strict=True)]
    return torch.stack([{"cls": text[0], "mean": text.mean(dim=0), "last": text[-1]}[pooling] for text in texts])


@pytest.mark.parametrize("pooling", get_args(Pooling))
@pytest.mark.parametrize("kind", FIT)
def test_the_sentence_is_the_network_s_own(kind: str, pooling: Pooling, tmp_path: Path) -> None:
    network = drawn(kind)
    section = section_of(saved(network, tmp_path), pooling=pooling)
    tower, (token_ids, mask) = TextTower.from_section(section).eval(), tokens_of(section)
    with torch.no_grad():
        expected = by_loops(network(input_ids=token_ids, attention_mask=mask).last_hidden_state, mask, pooling)
        torch.testing.assert_close(tower(token_ids, mask), expected, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(tower(token_ids, mask, length_groups(mask, 2)), expected, atol=2e-6, rtol=1e-5)
        again = TextTower.from_config(json.loads(json.dumps(tower.config)), pooling=pooling).eval()
        again.load_state_dict(tower.state_dict())
        assert torch.equal(again(token_ids, mask), tower(token_ids, mask))


@pytest.mark.parametrize("kind", ["layoutlm", "squeezebert"])
def test_networks_that_cannot_do_without_their_pooler(kind: str, tmp_path: Path) -> None:
    """They are probed without a pooler, as in the tower."""
    with pytest.raises(PretrainedError, match="cannot be run on"):
        TextTower.from_section(section_of(saved(drawn(kind, embedding_size=16), tmp_path)))


@pytest.mark.parametrize("whole", [True, False])
def test_encoders_with_a_decoder(whole: bool, tmp_path: Path) -> None:
    network = drawn("t5")
    if not whole:
        network = network.get_encoder()
        network.config.update({"is_encoder_decoder": False})
    with pytest.raises(PretrainedError, match="model type is 't5', an encoder with a decoder"):
        TextTower.from_section(section_of(saved(network, tmp_path)))


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
