"""Tests that the layers of a text encoder, run one by one, are the encoder's."""

import pytest
import torch

from mulan.model.towers.text import TextTower
from mulan.model.towers.text_layers import layers_of, run_layers, take_upper_layers
from tests.model.encoders import drawn

TOKENS, MASK = torch.tensor([[2, 7, 8, 3], [2, 9, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


def at_tokens(hidden: torch.Tensor) -> torch.Tensor:
    return hidden * MASK.unsqueeze(-1)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_lower_and_upper_layers_are_the_whole_encoder(kind: str, count: int) -> None:
    whole = TextTower(drawn(kind)).eval().tokens(TOKENS, MASK)
    tower = TextTower(drawn(kind)).eval()
    names = {name for name, _ in tower.named_parameters()}
    tower.split(count)
    assert len(tower.upper_layers) == count
    assert len(layers_of(tower.encoder) or ()) == 2 - count
    text = tower.tokens(TOKENS, MASK)
    assert torch.equal(text, whole) == (count == 0)
    for number in range(count):
        text = tower.upper_layer(number, text, MASK)
    torch.testing.assert_close(at_tokens(text), at_tokens(whole), atol=1e-6, rtol=1e-5)
    assert len({name for name, _ in tower.named_parameters()}) == len(names)


def test_padding_has_no_influence() -> None:
    layers = take_upper_layers(drawn("bert"), 2)
    hidden = torch.randn(2, 4, 16)
    other = torch.where(MASK.unsqueeze(-1) == 1, hidden, torch.randn(2, 4, 16))
    torch.testing.assert_close(at_tokens(run_layers(layers, other, MASK)), at_tokens(run_layers(layers, hidden, MASK)))


def test_an_encoder_whose_layers_share_their_weights_has_no_list_of_layers() -> None:
    assert len(layers_of(drawn("bert")) or ()) == len(layers_of(drawn("distilbert")) or ()) == 2
    assert layers_of(drawn("albert")) is None


def test_layers_that_are_split_off_stay_frozen() -> None:
    tower = TextTower(drawn("bert", num_hidden_layers=3))
    tower._freeze("bert", 2)
    tower.split(2)
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(name.startswith("upper_layers.1.") for name in trained)
    tower.train()
    assert [layer.training for layer in tower.upper_layers] == [False, True]
