"""Encoders of many kinds as text towers. The reference is the network of transformers with its own mask."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mulan.config.sections import TextTowerConfig as TextSection
from mulan.data.text import load_tokenizer, tokenize
from mulan.model.towers.text import TextTower
from mulan.storage.hub import PretrainedError
from tests.model.encoders import POSITIONS, drawn, saved

TEXTS = ["w1 w2 w3", "w4 " * 40, ""]


def section_of(spec: str, max_tokens: int = 12) -> TextSection:
    return TextSection(pretrained=spec, max_tokens=max_tokens)


def tokens_of(section: TextSection) -> tuple[Tensor, Tensor]:
    token_ids, mask = tokenize(TEXTS, load_tokenizer(section))
    return torch.from_numpy(token_ids), torch.from_numpy(mask)


FIT = {
    "albert": True,
    "bert": True,
    "deberta-v2": False,
    "distilbert": True,
    "electra": True,
    "modernbert": False,
    "mpnet": False,
    "rembert": False,
    "roberta": True,
    "roformer": False,
    "xlm-roberta": True,
    "xlnet": False,
}
"""Kinds, and whether a mask of our own stands for theirs."""


@pytest.mark.parametrize("kind", FIT)
def test_the_sentence_is_the_network_s_own(kind: str, tmp_path: Path) -> None:
    network = drawn(kind)
    section = section_of(saved(network, tmp_path))
    tower, (token_ids, mask) = TextTower.from_section(section).eval(), tokens_of(section)
    with torch.no_grad():
        expected = network(input_ids=token_ids, attention_mask=mask).last_hidden_state[:, 0]
        torch.testing.assert_close(tower(token_ids, mask), expected, atol=2e-6, rtol=1e-5)
        again = TextTower.from_config(json.loads(json.dumps(tower.config))).eval()
        again.load_state_dict(tower.state_dict())
        assert torch.equal(again(token_ids, mask), tower(token_ids, mask))


@pytest.mark.parametrize("kind", FIT)
def test_who_makes_the_mask(kind: str) -> None:
    dimensions: list[int] = []
    network = drawn(kind)
    tower = TextTower(network).eval()
    network.register_forward_pre_hook(
        lambda _, args, kwargs: dimensions.append(kwargs["attention_mask"].dim()), with_kwargs=True
    )
    tower(torch.tensor([[2, 7, 3, 0]]), torch.tensor([[1, 1, 1, 0]]))
    assert dimensions == [4 if FIT[kind] else 2]


@pytest.mark.parametrize(
    ("kind", "projection", "kept"),
    [
        ("mpnet", ".k.", False),
        ("roberta", ".key.", False),
        ("roformer", ".key.", True),
        ("deberta-v2", "key_proj", True),
    ],
)
def test_a_key_s_bias_is_dropped_where_it_changes_nothing(kind: str, projection: str, kept: bool) -> None:
    names = [name for name, _ in TextTower(drawn(kind)).named_parameters() if projection in name]
    assert any(name.endswith("weight") for name in names)
    assert any(name.endswith("bias") for name in names) == kept


@pytest.mark.parametrize("kind", ["gpt2", "clip_text_model", "modernbert-decoder"])
def test_causal_networks(kind: str, tmp_path: Path) -> None:
    spec = saved(drawn(kind), tmp_path)
    with pytest.raises(PretrainedError, match=r"does not depend on the tokens that follow.* BERT, RoBERTa") as caught:
        TextTower.from_section(section_of(spec))
    assert len(caught.value.faults) == 1


def test_a_decoder_of_bert_s_kind(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="causal"):
        TextTower.from_section(section_of(saved(drawn("bert", is_decoder=True), tmp_path)))


@pytest.mark.parametrize("kind", ["fnet", "convbert"])
def test_networks_that_read_the_padding(kind: str, tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="depends on the amount of padding"):
        TextTower.from_section(section_of(saved(drawn(kind), tmp_path)))


@pytest.mark.parametrize("kind", ["layoutlm", "squeezebert"])
def test_networks_that_cannot_do_without_their_pooler(kind: str, tmp_path: Path) -> None:
    """They are run as the tower runs them, which has no pooler."""
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


@pytest.mark.parametrize(
    ("kind", "longest"), [("bert", POSITIONS), ("roberta", POSITIONS - 1), ("mpnet", POSITIONS - 2)]
)
def test_no_more_tokens_than_there_are_positions(kind: str, longest: int, tmp_path: Path) -> None:
    spec = saved(drawn(kind), tmp_path)
    section = section_of(spec, longest)
    assert TextTower.from_section(section)(*tokens_of(section)).shape == (3, 16)
    with pytest.raises(PretrainedError) as caught:
        TextTower.from_section(section_of(spec, longest + 1))
    assert str(caught.value) == (
        f"pretrained '{spec}': text_tower.max_tokens = {longest + 1}, but it has positions for {longest} tokens. "
        f"Set text_tower.max_tokens to {longest} or less."
    )


def test_a_tokenizer_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="has token id 39, but the network has only 30 token embeddings"):
        TextTower.from_section(section_of(saved(drawn("bert", vocab_size=30), tmp_path)))
    saved(drawn("bert"), tmp_path, words=30)
    TextTower.from_section(section_of(str(tmp_path)))


def test_probing_changes_nothing(tmp_path: Path) -> None:
    section = section_of(saved(drawn("bert"), tmp_path))
    state = torch.get_rng_state()
    tower = TextTower.from_section(section)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: parameter.grad for name, parameter in tower.named_parameters() if parameter.grad is not None} == {}


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


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    network = drawn("bert")
    torch.nn.init.constant_(network.encoder.layer[1].output.dense.bias, float("nan"))
    with pytest.raises(PretrainedError, match="not finite"):
        TextTower.from_section(section_of(saved(network, tmp_path)))
