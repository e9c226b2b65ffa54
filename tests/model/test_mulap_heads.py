"""Tests MuLaP's heads for segments and matches: BERT's transform before the former, dropout in the latter."""

import pytest
import torch
from torch import nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertPredictionHeadTransform

from mulan.config.objectives import MulapConfig
from mulan.model.mulap import MatchHead, SegmentHead, predict


def test_segments_are_predicted_by_a_linear_layer_after_berts_transform() -> None:
    torch.manual_seed(0)
    head = SegmentHead(MulapConfig(audio_size=8), features=5)
    config = BertConfig(hidden_size=8, hidden_act="gelu", layer_norm_eps=1e-5)
    theirs = BertPredictionHeadTransform(config)
    dense, _, norm = head.transform
    theirs.dense.load_state_dict(dense.state_dict())
    theirs.LayerNorm.load_state_dict(norm.state_dict())
    rows = torch.randn(3, 8)
    expected = theirs(rows) @ head.features.weight.T + head.features.bias
    torch.testing.assert_close(head(rows), expected, atol=1e-5, rtol=1e-4)


def test_dropout_of_the_match_head_is_applied_to_the_product_in_training_only() -> None:
    torch.manual_seed(0)
    head = MatchHead(MulapConfig(audio_size=8, fusion_size=400, dropout=0.25), text_size=6)
    nn.init.ones_(head.score.weight)
    products: list[torch.Tensor] = []
    head.score.register_forward_hook(lambda _, args, output: products.append(args[0]))
    audio, text = torch.randn(30, 8), torch.randn(30, 6)
    whole, dropped = head.eval()(audio, text), head.train()(audio, text)
    assert not torch.equal(whole, dropped)
    kept = products[1] != 0
    torch.testing.assert_close(products[1][kept], products[0][kept] / 0.75)
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_predictions_do_not_depend_on_where_the_weights_lie_in_memory(rows: int) -> None:
    """On some CPUs, the product of a matrix and a vector does."""
    torch.manual_seed(0)
    hidden, weight, found = torch.randn(rows, 12), torch.randn(30_522, 12), set()
    for offset in range(9):
        head = nn.Linear(12, 30_522)
        nn.init.zeros_(head.bias)
        head.weight = nn.Parameter(torch.empty(weight.numel() + offset)[offset:].view_as(weight).copy_(weight))
        predicted = predict(head, hidden)
        assert predicted.shape == (rows, 30_522)
        torch.testing.assert_close(predicted, hidden @ weight.T, atol=1e-5, rtol=1e-5)
        found.add(predicted.detach().numpy().tobytes())
    assert len(found) == 1
