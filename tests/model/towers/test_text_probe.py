"""Tests the probes of text encoders: causal attention, effects of padding, maximum length, nonfinite outputs."""

from pathlib import Path

import pytest
import torch

from mulan.config.sections import Pooling
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_probe import layers_run_alone
from mulan.storage.hub import PretrainedError
from tests.model.encoders import CAUSAL, FIT, POSITIONS, drawn, encoder_of, saved, section_of, tokens_of


@pytest.mark.parametrize("kind", FIT)
def test_who_makes_the_mask(kind: str) -> None:
    dimensions: list[int] = []
    network = encoder_of(drawn(kind))
    tower = TextTower(network).eval()
    network.register_forward_pre_hook(
        lambda _, args, kwargs: dimensions.append(kwargs["attention_mask"].dim()), with_kwargs=True
    )
    tower(torch.tensor([[2, 7, 3, 0]]), torch.tensor([[1, 1, 1, 0]]))
    assert dimensions == [4 if FIT[kind] else 2]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("bert", True), ("roberta", True), ("mpnet", False), ("roberta-prelayernorm", False), ("albert", False)],
)
def test_whose_layers_can_be_run_one_by_one(kind: str, expected: bool) -> None:
    """MPNet's layers share a position bias, a pre-norm encoder ends with a norm, and ALBERT has one layer for all."""
    network, state = drawn(kind), torch.get_rng_state()
    assert layers_run_alone(network) == expected
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("kind", ["gpt2", "clip_text_model", "modernbert-decoder"])
def test_causal_networks(kind: str, tmp_path: Path) -> None:
    spec = saved(drawn(kind), tmp_path)
    with pytest.raises(PretrainedError, match=r"does not depend on the tokens that follow.* BERT, RoBERTa") as caught:
        TextTower.from_section(section_of(spec))
    assert len(caught.value.faults) == 1


def test_a_decoder_of_bert_s_kind(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="causal"):
        TextTower.from_section(section_of(saved(drawn("bert", is_decoder=True), tmp_path)))


@pytest.mark.parametrize("kind", CAUSAL)
def test_causal_networks_fit_other_poolings(kind: str, tmp_path: Path) -> None:
    spec = saved(drawn(kind), tmp_path, template="$A")
    for pooling in ("mean", "last"):
        TextTower.from_section(section_of(spec, pooling=pooling))
    with pytest.raises(PretrainedError, match="no special token before a text"):
        TextTower.from_section(section_of(spec))


def test_a_last_position_that_sees_only_itself(tmp_path: Path) -> None:
    network = drawn("bert")
    for layer in network.encoder.layer:
        torch.nn.init.zeros_(layer.attention.output.dense.weight)
    with pytest.raises(PretrainedError, match="its last position does not depend on the tokens that precede it"):
        TextTower.from_section(section_of(saved(network, tmp_path), pooling="last"))


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize("kind", ["fnet", "convbert"])
def test_networks_that_read_the_padding(kind: str, pooling: Pooling, tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="depends on the amount of padding"):
        TextTower.from_section(section_of(saved(drawn(kind), tmp_path), pooling=pooling))


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


def test_probing_changes_nothing(tmp_path: Path) -> None:
    section = section_of(saved(drawn("bert"), tmp_path))
    state = torch.get_rng_state()
    tower = TextTower.from_section(section)
    assert torch.equal(torch.get_rng_state(), state)
    assert {name: parameter.grad for name, parameter in tower.named_parameters() if parameter.grad is not None} == {}


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    network = drawn("bert")
    torch.nn.init.constant_(network.encoder.layer[1].output.dense.bias, float("nan"))
    with pytest.raises(PretrainedError, match="not finite"):
        TextTower.from_section(section_of(saved(network, tmp_path)))
