"""Tests the text tower: kept layers, padding, gradients, groups of texts by length, and frozen layers."""

import json

import pytest
import torch
from transformers import AutoModel, ModernBertConfig, ModernBertModel

from mulan.config.sections import TextTowerConfig as TextSection
from mulan.model.towers.text import TextTower
from mulan.model.towers.text_lengths import length_groups
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import PretrainedError, pretrained_folder

TOKEN_IDS = torch.tensor([[101, 6517, 3682, 102, 0], [101, 3435, 3153, 2189, 102]])
MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])


@pytest.mark.parametrize("layers", [0, 2])
def test_output_is_the_cls_position_of_the_kept_layers(layers: int) -> None:
    whole = AutoModel.from_pretrained(pretrained_folder(MINILM), local_files_only=True).eval()
    hidden = whole(input_ids=TOKEN_IDS, attention_mask=MASK, output_hidden_states=True).hidden_states
    tower = TextTower.from_section(TextSection(pretrained=MINILM, layers=layers)).eval()
    assert tower.output_dim == 384
    torch.testing.assert_close(
        tower(TOKEN_IDS, MASK), hidden[layers or whole.config.num_hidden_layers][:, 0], atol=2e-5, rtol=1e-4
    )


def test_padding_does_not_matter() -> None:
    tower = TextTower.from_section(TextSection(pretrained=MINILM, layers=1)).eval()
    torch.testing.assert_close(tower(TOKEN_IDS, MASK)[:1], tower(TOKEN_IDS[:1, :4], MASK[:1, :4]))


def test_every_parameter_has_a_true_gradient() -> None:
    tower = TextTower.from_section(TextSection(pretrained=MINILM, layers=2)).double().eval()
    output = tower(TOKEN_IDS, MASK)
    (output * torch.randn_like(output)).sum().backward()
    for name, parameter in tower.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-9, name


def test_built_again_from_its_configuration_alone() -> None:
    tower = TextTower.from_section(TextSection(pretrained=MINILM, layers=1)).eval()
    config = json.loads(json.dumps(tower.config))
    assert "site-packages" not in str(config)  # no path of the exporting machine
    again = TextTower.from_config(config).eval()
    assert not torch.equal(again(TOKEN_IDS, MASK), tower(TOKEN_IDS, MASK))
    again.load_state_dict(tower.state_dict())
    assert torch.equal(again(TOKEN_IDS, MASK), tower(TOKEN_IDS, MASK))


def test_more_layers_than_there_are() -> None:
    with pytest.raises(PretrainedError, match=r"text_tower\.layers = 7, but it has 6"):
        TextTower.from_section(TextSection(pretrained=MINILM, layers=7))


LENGTHS = torch.tensor([3, 12, 5, 4, 12, 7])


def texts_of(lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns random tokens and their mask."""
    token_ids = torch.randint(1000, 2000, (len(lengths), 12), generator=torch.Generator().manual_seed(0))
    return token_ids, (torch.arange(12) < lengths[:, None]).long()


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 9])
def test_grouping_by_length_changes_no_output_and_no_gradient(groups: int) -> None:
    token_ids, mask = texts_of(LENGTHS)
    whole, grouped = (TextTower.from_section(TextSection(pretrained=MINILM, layers=1)).eval() for _ in range(2))
    outputs = [whole(token_ids, mask), grouped(token_ids, mask, length_groups(mask, groups))]
    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-5, rtol=1e-4)
    for output in outputs:
        output.square().sum().backward()
    for (name, one), other in zip(whole.named_parameters(), grouped.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        assert float((one.grad - other.grad).norm()) <= 1e-4 * float(one.grad.norm()) + 1e-6, name


def test_groups_save_work() -> None:
    token_ids, mask = texts_of(LENGTHS)
    tower = TextTower.from_section(TextSection(pretrained=MINILM, layers=1)).eval()
    shapes: list[tuple[int, ...]] = []
    tower.encoder.embeddings.register_forward_hook(lambda _, args, output: shapes.append(output.shape[:2]))
    tower(token_ids, mask, length_groups(mask, 3))
    assert shapes == [(2, 4), (2, 7), (2, 12)]


def test_an_encoder_with_a_sliding_window_keeps_it() -> None:
    """For these layers, the encoder builds its own mask from that of the tokens."""
    config = ModernBertConfig(
        vocab_size=2000,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        local_attention=4,
        pad_token_id=0,
    )
    encoder = ModernBertModel(config).eval()
    token_ids, mask = texts_of(LENGTHS)
    expected = encoder(input_ids=token_ids, attention_mask=mask).last_hidden_state[:, 0]
    torch.testing.assert_close(TextTower(encoder)(token_ids, mask), expected)


def test_frozen_layers_stay_as_they_are_pretrained() -> None:
    tower = TextTower.from_section(TextSection(pretrained=MINILM, layers=3, frozen_layers=2))
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("encoder.encoder.layer.2.") for name in trained)
    dropouts = {name: module for name, module in tower.train().named_modules() if isinstance(module, torch.nn.Dropout)}
    active = {name for name, module in dropouts.items() if module.training}
    assert active == {name for name in dropouts if name.startswith("encoder.encoder.layer.2.")}
    assert active < dropouts.keys()
    assert active
    assert not any(module.training for module in tower.eval().modules())
    with pytest.raises(PretrainedError, match="frozen_layers = 4, but it has 3 layers"):
        TextTower.from_section(TextSection(pretrained=MINILM, layers=3, frozen_layers=4))
