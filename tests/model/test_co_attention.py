"""Tests MuLaP's attention layers against float64 loops over their formulas, and their masks, dropout and gradients."""

import math
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from mulan.config.objectives import MulapConfig
from mulan.model.co_attention import AttentionLayer, FusionBlock

HEADS, ATTENTION = 3, 12
AUDIO, TEXT = 10, 7  # sizes of the two streams
MASK = torch.tensor([[True, True, True, False, False], [True, False, True, True, False]])


def attention_layer(size: int, other_size: int, feed_forward_size: int = 9, dropout: float = 0.1) -> AttentionLayer:
    return AttentionLayer(
        size=size,
        other_size=other_size,
        attention_size=ATTENTION,
        heads=HEADS,
        feed_forward_size=feed_forward_size,
        dropout=dropout,
    )


def randomise(layer: nn.Module) -> None:
    """Initialises all parameters randomly, those of norms and biases as well."""
    for parameter in layer.parameters():
        parameter.data.normal_(std=0.5)


@pytest.fixture
def layer() -> AttentionLayer:
    """Returns a layer of the audio stream."""
    torch.manual_seed(0)
    layer = attention_layer(AUDIO, TEXT)
    randomise(layer)
    return layer.eval()


@pytest.fixture
def block(layer: AttentionLayer) -> FusionBlock:
    block = FusionBlock(layer, attention_layer(TEXT, AUDIO, 8))
    randomise(block)
    return block.eval()


@pytest.fixture
def audio() -> torch.Tensor:
    return torch.randn(2, 4, AUDIO, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def text() -> torch.Tensor:
    return torch.randn(2, 5, TEXT, generator=torch.Generator().manual_seed(2))


def by_hand(layer: AttentionLayer, own: torch.Tensor, other: torch.Tensor, mask: torch.Tensor | None) -> np.ndarray:
    """Computes the layer in float64 loops, one query and one head at a time."""
    weights = {name: parameter.detach().double().numpy() for name, parameter in layer.named_parameters()}

    def linear(row: np.ndarray, name: str) -> np.ndarray:
        return weights[f"{name}.weight"] @ row + weights.get(f"{name}.bias", 0)

    def norm(row: np.ndarray, name: str) -> np.ndarray:
        unit = (row - row.mean()) / np.sqrt(row.var() + 1e-5)
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def gelu(row: np.ndarray) -> np.ndarray:
        return np.array([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in row])

    size = ATTENTION // HEADS
    result = np.empty(own.shape)
    for pair, (queries, others) in enumerate(zip(own.double().numpy(), other.double().numpy(), strict=True)):
        seen = [row for place, row in enumerate(others) if mask is None or mask[pair, place]]
        for place, row in enumerate(queries):
            context = []
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                query = linear(row, "query")[part]
                scores = [math.exp(query @ linear(one, "key")[part] / math.sqrt(size)) for one in seen]
                values = [linear(one, "value")[part] for one in seen]
                context.append(sum(score * value for score, value in zip(scores, values, strict=True)) / sum(scores))
            attended = norm(row + linear(np.concatenate(context), "output"), "output_norm")
            inner = gelu(linear(attended, "feed_forward.0"))
            result[pair, place] = norm(attended + linear(inner, "feed_forward.2"), "feed_forward_norm")
    return result


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
def test_a_layer_equals_float64_loops(
    layer: AttentionLayer, audio: torch.Tensor, text: torch.Tensor, mask: torch.Tensor | None
) -> None:
    expected = by_hand(layer, audio, text, mask)
    np.testing.assert_allclose(layer(audio, text, mask).detach(), expected, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(layer.double()(audio.double(), text.double(), mask).detach(), expected, atol=1e-12)


def test_attention_equals_that_of_torch(text: torch.Tensor) -> None:
    """torch's queries must have the size of all heads together."""
    torch.manual_seed(0)
    layer = attention_layer(12, TEXT).eval()
    randomise(layer)
    theirs = nn.MultiheadAttention(12, HEADS, kdim=TEXT, vdim=TEXT, batch_first=True).eval()
    theirs.load_state_dict(
        {
            "q_proj_weight": layer.query.weight,
            "k_proj_weight": layer.key.weight,
            "v_proj_weight": layer.value.weight,
            "in_proj_bias": torch.cat([layer.query.bias, torch.zeros(12), layer.value.bias]),
            "out_proj.weight": layer.output.weight,
            "out_proj.bias": layer.output.bias,
        }
    )
    seen: list[torch.Tensor] = []
    layer.output.register_forward_hook(lambda _, args, output: seen.append(output))

    own = torch.randn(2, 4, 12)
    layer(own, text, MASK)
    torch.testing.assert_close(seen[0], theirs(own, text, text, key_padding_mask=~MASK)[0], atol=1e-5, rtol=1e-4)


def in_matrices(layer: AttentionLayer, own: torch.Tensor, other: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Computes a layer by products of float64 matrices, with the layer norms' epsilon of BERT, 1e-12."""
    weights = {name: parameter.detach().double() for name, parameter in layer.named_parameters()}

    def linear(rows: torch.Tensor, name: str) -> torch.Tensor:
        return rows @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", torch.zeros(1, dtype=torch.float64))

    def norm(rows: torch.Tensor, name: str) -> torch.Tensor:
        centred = rows - rows.mean(dim=-1, keepdim=True)
        unit = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-12).sqrt()
        return unit * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    queries, keys, values = linear(own, "query"), linear(other, "key"), linear(other, "value")
    size = queries.shape[-1] // layer.heads
    contexts = []
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        scores = queries[..., part] @ keys[..., part].mT / math.sqrt(size)
        scores = scores.masked_fill(~mask[:, None, :], -torch.inf)
        contexts.append(torch.softmax(scores, dim=-1) @ values[..., part])
    attended = norm(own + linear(torch.cat(contexts, dim=-1), "output"), "output_norm")
    inner = linear(attended, "feed_forward.0")
    inner = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
    return norm(attended + linear(inner, "feed_forward.2"), "feed_forward_norm")


def test_a_block_of_the_paper_s_size_equals_products_of_matrices_with_berts_epsilon() -> None:
    """Compares float32 with float64 with the same initial weights, for 6 segments with a global token and 20 tokens.

    The difference is about 2e-5 and comes from the epsilon: ours is torch's default, 1e-5.
    """
    torch.manual_seed(0)
    section = MulapConfig()
    attention: dict[str, Any] = {
        "attention_size": section.fusion_size,
        "heads": section.fusion_heads,
        "dropout": section.dropout,
    }
    block = FusionBlock(
        AttentionLayer(size=256, other_size=768, feed_forward_size=1024, **attention),
        AttentionLayer(size=768, other_size=256, feed_forward_size=3072, **attention),
    ).eval()
    assert block.audio is not None and block.text is not None
    audio, text = torch.randn(2, 7, 256), torch.randn(2, 20, 768)
    mask = torch.arange(20) < torch.tensor([[20], [11]])
    with torch.inference_mode():
        new_audio, new_text = block(audio, text, mask)
        streams = audio.double(), text.double()
        expected = in_matrices(block.audio, *streams, mask)
        torch.testing.assert_close(new_audio.double(), expected, atol=3e-5, rtol=0)
        expected = in_matrices(block.text, *reversed(streams), torch.ones(2, 7, dtype=torch.bool))
        torch.testing.assert_close(new_text.double(), expected, atol=3e-5, rtol=0)


def test_self_attention_is_a_layer_of_bert() -> None:
    torch.manual_seed(0)
    layer = attention_layer(ATTENTION, ATTENTION).eval()
    randomise(layer)
    config = BertConfig(
        hidden_size=ATTENTION, num_attention_heads=HEADS, intermediate_size=9, hidden_act="gelu", layer_norm_eps=1e-5
    )
    config._attn_implementation = "eager"
    theirs = BertLayer(config).eval()
    parts = {
        "attention.self.query": layer.query,
        "attention.self.key": layer.key,
        "attention.self.value": layer.value,
        "attention.output.dense": layer.output,
        "attention.output.LayerNorm": layer.output_norm,
        "intermediate.dense": layer.feed_forward[0],
        "output.dense": layer.feed_forward[2],
        "output.LayerNorm": layer.feed_forward_norm,
    }
    weights = {f"{name}.{key}": weight for name, part in parts.items() for key, weight in part.state_dict().items()}
    theirs.load_state_dict(weights | {"attention.self.key.bias": torch.randn(ATTENTION)})  # a key bias has no effect
    own = torch.randn(2, 5, ATTENTION)
    scores = torch.where(MASK, 0.0, -1e9)[:, None, None, :]
    torch.testing.assert_close(layer(own, own, MASK), theirs(own, scores), atol=1e-5, rtol=1e-4)


def test_masked_positions_have_no_effect(layer: AttentionLayer, audio: torch.Tensor, text: torch.Tensor) -> None:
    other = torch.where(MASK[..., None], text, 100 * torch.randn(2, 5, TEXT))
    assert torch.equal(layer(audio, other, MASK), layer(audio, text, MASK))
    assert not torch.equal(layer(audio, other), layer(audio, text))
    torch.testing.assert_close(layer(audio[:1], text[:1, :3]), layer(audio[:1], text[:1], MASK[:1]))


def test_both_streams_attend_to_the_inputs_of_the_block(
    block: FusionBlock, audio: torch.Tensor, text: torch.Tensor
) -> None:
    assert block.audio is not None and block.text is not None
    new_audio, new_text = block(audio, text, MASK)
    assert torch.equal(new_audio, block.audio(audio, text, MASK))
    assert torch.equal(new_text, block.text(text, audio))
    assert not torch.allclose(new_text, block.text(text, new_audio), atol=0.01)
    assert not torch.allclose(new_audio, block.audio(audio, new_text, MASK), atol=0.01)


def test_self_attention_of_the_audio_follows_co_attention(audio: torch.Tensor, text: torch.Tensor) -> None:
    torch.manual_seed(0)
    co_attention, *own = attention_layer(AUDIO, TEXT), attention_layer(AUDIO, AUDIO), attention_layer(AUDIO, AUDIO)
    block = FusionBlock(co_attention, attention_layer(TEXT, AUDIO), own).eval()
    randomise(block)
    expected = co_attention(audio, text, MASK)
    for layer in own:
        expected = layer(expected, expected)
    new_audio, new_text = block(audio, text, MASK)
    assert torch.equal(new_audio, expected)
    assert torch.equal(new_text, block.text(text, audio))


def test_a_stream_without_a_layer_is_unchanged(block: FusionBlock, audio: torch.Tensor, text: torch.Tensor) -> None:
    new_audio, new_text = block(audio, text, MASK)
    for audio_layer, text_layer in ((block.audio, None), (None, block.text)):
        left_audio, left_text = FusionBlock(audio_layer, text_layer)(audio, text, MASK)
        assert torch.equal(left_audio, new_audio) if audio_layer else left_audio is audio
        assert torch.equal(left_text, new_text) if text_layer else left_text is text


def test_dropout_is_applied_in_training_only_and_as_in_bert(audio: torch.Tensor, text: torch.Tensor) -> None:
    """BERT applies dropout to attention weights, and before each residual connection."""
    torch.manual_seed(0)
    layer = attention_layer(AUDIO, TEXT, dropout=0.25)
    shapes: list[tuple[int, ...]] = []
    layer.dropout.register_forward_hook(lambda module, args, output: shapes.append(args[0].shape))
    for training, share in ((True, 0.25), (False, 0.0)):
        layer.train(training)
        with patch(
            "mulan.model.co_attention.scaled_dot_product_attention", side_effect=scaled_dot_product_attention
        ) as attention:
            first, second = layer(audio, text, MASK), layer(audio, text, MASK)
        assert [call.kwargs["dropout_p"] for call in attention.call_args_list] == [share, share]
        assert torch.equal(first, second) == (not training)
    assert layer.dropout.p == 0.25
    assert shapes == [audio.shape] * 8


def test_every_parameter_has_a_true_gradient(block: FusionBlock, audio: torch.Tensor, text: torch.Tensor) -> None:
    new_audio, new_text = block.double()(audio.double(), text.double(), MASK)
    ((new_audio * torch.randn_like(new_audio)).sum() + (new_text * torch.randn_like(new_text)).sum()).backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name
