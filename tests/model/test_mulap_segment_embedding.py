"""Tests the audio stream of MuLaP: a global token from the visible segments, and masked segments as zeros."""

import pytest
import torch

from mulan.config.objectives import MulapConfig
from mulan.model.mulap import SegmentEmbedding


def segment_embedding() -> SegmentEmbedding:
    torch.manual_seed(0)
    embedding = SegmentEmbedding(MulapConfig(audio_size=6, audio_heads=2, fusion_size=8), features=4, segments=3).eval()
    for parameter in embedding.parameters():
        parameter.data.normal_()
    return embedding


def test_the_global_token_precedes_the_segments_and_is_the_mean_of_the_visible_ones() -> None:
    embedding = segment_embedding()
    features, hidden = torch.randn(4, 3, 4), torch.tensor([[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1]])
    stream = embedding(features, hidden.to(torch.uint8))
    for pair in range(4):
        seen = [features[pair, place] for place in range(3) if not hidden[pair, place]]
        tokens = [sum(seen) / len(seen) if seen else torch.zeros(4)]
        tokens += [torch.zeros(4) if hidden[pair, place] else features[pair, place] for place in range(3)]
        for place, token in enumerate(tokens):
            row = embedding.projection.weight @ token + embedding.projection.bias + embedding.positions[place]
            row = (row - row.mean()) / (row.var(unbiased=False) + 1e-5).sqrt()
            expected = row * embedding.norm.weight + embedding.norm.bias
            torch.testing.assert_close(stream[pair, place], expected, atol=1e-5, rtol=1e-4)


def test_dropout_is_applied_in_training_only() -> None:
    embedding = segment_embedding()
    features, hidden = torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.uint8)
    whole, dropped = embedding(features, hidden), embedding.train()(features, hidden)
    kept = dropped != 0
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.9)


@pytest.mark.parametrize("hidden", [[[1, 0, 1], [0, 1, 0]], [[1, 1, 1], [1, 1, 1]]])
def test_masked_segments_have_no_gradient(hidden: list[list[int]]) -> None:
    features = torch.randn(2, 3, 4, requires_grad=True)
    stream = segment_embedding()(features, torch.tensor(hidden, dtype=torch.uint8))
    (stream * torch.randn_like(stream)).sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad.abs().amax(dim=2) == 0, torch.tensor(hidden) == 1)
