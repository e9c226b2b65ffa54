"""Tests MuLaP's fusion model against its modules, applied to one segment and one token at a time."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLMPredictionHead

from mulan.config.recipe import Recipe
from mulan.model.mulap import FusionModel
from mulan.model.outputs import MaskedPositions, Predictions
from mulan.recipes.registry import load_recipe
from mulan.tasks.mulap import MulapTask
from tests.model.small import noise, small_fusion_model, small_mulap
from tests.model.waits import HostWaits

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, MaskedPositions]
SUBSETS = [(mlm, mam, atm) for mlm in (0, 1) for mam in (0, 2) for atm in (0, 3) if mlm or mam or atm]


def masked_positions(segments: torch.Tensor, token_indices: torch.Tensor) -> MaskedPositions:
    return MaskedPositions(segments, segments.flatten().nonzero().flatten(), token_indices)


def streams_of(model: FusionModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns a list to which every forward pass appends the final streams: those of the last block and text layer."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    audio: list[torch.Tensor] = []
    model.blocks[-1].register_forward_hook(lambda _, args, output: audio.append(output[0]))
    last = model.text_tower.upper_layers[-1]
    last.register_forward_hook(lambda _, args, output: seen.append((audio[-1], output)))
    return seen


def bert_layer(layer: nn.Module, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Applies a layer of BERT to every text without its padding."""
    output = torch.zeros_like(hidden)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        output[row, :length] = layer(hidden[row : row + 1, :length])[0]
    return output


def real(text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns a text stream with zeros at padding."""
    return text * mask.unsqueeze(-1)


def total(predictions: Predictions) -> Any:
    """Returns a scalar that depends on every prediction."""
    logits, segments, _, matches = predictions
    return sum((part.square().sum() for part in (logits, segments, matches) if part is not None), torch.zeros(()))


def assert_all_close(one: Predictions, other: Predictions) -> None:
    for computed, expected in zip(one, other, strict=True):
        torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-4)


@pytest.fixture
def recipe() -> Recipe:
    return small_mulap()


@pytest.fixture
def fusion(recipe: Recipe) -> FusionModel:
    return small_fusion_model(recipe)


@pytest.fixture
def inputs(recipe: Recipe) -> Inputs:
    return noise(recipe).inputs


def test_every_masked_position_is_predicted(fusion: FusionModel, inputs: Inputs) -> None:
    hidden = inputs[3]
    n, k = len(hidden.token_indices), len(hidden.segment_indices)
    assert 3 < n < inputs[2].sum()
    assert 3 < k < 15
    predictions = fusion.train()(*inputs)
    features = fusion.audio_encoder.output_dim
    assert [part.shape for part in predictions] == [(n, 20_000), (k, features), (k, features), (5,)]
    assert {part.dtype for part in predictions} == {torch.float32}


def test_streams_are_the_outputs_of_towers_and_blocks(fusion: FusionModel, inputs: Inputs) -> None:
    waveform, token_ids, mask, hidden = inputs
    last = streams_of(fusion)
    fusion(*inputs)
    windows = [[waveform[pair, 0, 4000 * part : 4000 * (part + 1)] for part in range(3)] for pair in range(5)]
    features = torch.stack(
        [torch.cat([fusion.audio_encoder(window[None]) for window in windows[pair]]) for pair in range(5)]
    )
    audio, text = fusion.segment_embedding(features, hidden.segments), fusion.text_tower.tokens(token_ids, mask)
    assert len(fusion.blocks) == 2
    blocks: Any = fusion.blocks
    assert [len(block.audio_layers) for block in blocks] == [1, 2]
    assert (len(fusion.text_tower.encoder.encoder.layer), len(fusion.text_tower.upper_layers)) == (1, 2)
    for block, text_layer in zip(blocks, fusion.text_tower.upper_layers, strict=True):
        audio, text = block.audio(audio, text, mask.bool()), block.text(text, audio)
        for layer in block.audio_layers:
            audio = layer(audio, audio)
        text = bert_layer(text_layer, text, mask)
    torch.testing.assert_close(last[0][0], audio, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(real(last[0][1], mask), text, atol=1e-5, rtol=1e-4)
    assert audio.shape == (5, 4, 10)
    assert text.shape == (*token_ids.shape, 8)


def test_audio_context_reaches_a_masked_segment() -> None:
    """Without self-attention of the audio, it would only do so through the text and the global token."""
    torch.manual_seed(0)
    recipe = load_recipe("mulap_miniature")
    model: Any = MulapTask(recipe).build_model().eval()
    waveform, *texts, hidden = noise(recipe).inputs
    hidden = masked_positions(torch.tensor([[0, 1, 0]] * 8, dtype=torch.uint8), hidden.token_indices)
    features = torch.randn(2, 8 * 3, model.audio_encoder.output_dim)
    heard: list[torch.Tensor] = []
    model.audio_encoder.register_forward_hook(lambda *_: heard.pop())

    def change() -> float:
        """Returns the relative change of the predicted segments when all other audio changes."""
        heard.extend(features)
        with torch.no_grad():
            one, other = (model(waveform, *texts, hidden).segments for _ in range(2))
        return float((one - other).norm() / one.norm())

    context = change()
    for block in model.blocks:
        block.audio_layers = nn.ModuleList()
    through_text = change()
    print(f"a masked segment changes by {context:.1%}, by {through_text:.1%} without self-attention")
    assert context > 0.1
    assert context > 3 * through_text


def test_every_masked_segment_is_predicted_from_its_own_position(fusion: FusionModel, inputs: Inputs) -> None:
    last = streams_of(fusion)
    predicted = fusion(*inputs)
    assert fusion.segment_head is not None
    hidden, row = inputs[3].segments, 0
    for pair in range(5):
        for segment in range(3):
            if hidden[pair, segment]:
                expected = fusion.segment_head(last[0][0][pair, 1 + segment])
                torch.testing.assert_close(predicted.segments[row], expected, atol=1e-5, rtol=1e-4)
                window = inputs[0][pair, 0, 4000 * segment : 4000 * (segment + 1)]
                heard = fusion.audio_encoder(window[None])[0]
                torch.testing.assert_close(predicted.segment_features[row], heard, atol=1e-5, rtol=1e-4)
                row += 1
    assert len(predicted.segments) == len(predicted.segment_features) == row
    assert not predicted.segment_features.requires_grad


def test_tokens_are_predicted_by_berts_head_over_the_word_embeddings(fusion: FusionModel, inputs: Inputs) -> None:
    last = streams_of(fusion)
    predicted = fusion(*inputs).token_logits
    head, words = fusion.token_head, fusion.text_tower.encoder.embeddings.word_embeddings.weight
    assert head is not None
    config = BertConfig(vocab_size=20_000, hidden_size=8, hidden_act="gelu", layer_norm_eps=1e-5)
    theirs = BertLMPredictionHead(config).eval()
    dense, _, norm = head.transform
    theirs.transform.dense.load_state_dict(dense.state_dict())
    theirs.transform.LayerNorm.load_state_dict(norm.state_dict())
    theirs.decoder.load_state_dict({"weight": words, "bias": head.bias})
    length = inputs[1].shape[1]
    tokens = torch.stack([last[0][1][place // length, place % length] for place in inputs[3].token_indices.tolist()])
    torch.testing.assert_close(predicted, theirs(tokens), atol=1e-5, rtol=1e-4)
    of_vocabulary = [name for name, weight in fusion.state_dict().items() if weight.shape[:1] == (20_000,)]
    assert of_vocabulary == ["text_tower.encoder.embeddings.word_embeddings.weight", "token_head.bias"]


def test_a_match_is_predicted_from_the_product_of_both_global_tokens(fusion: FusionModel, inputs: Inputs) -> None:
    last = streams_of(fusion)
    predicted = fusion(*inputs).match_logits
    assert fusion.match_head is not None
    weights = {name: weight.detach() for name, weight in fusion.match_head.state_dict().items()}
    for pair in range(5):
        audio, text = last[0][0][pair, 0], last[0][1][pair, 0]
        product = torch.tanh(weights["audio.weight"] @ audio + weights["audio.bias"])
        product = product * torch.tanh(weights["text.weight"] @ text + weights["text.bias"])
        expected = weights["score.weight"][0] @ product + weights["score.bias"][0]
        torch.testing.assert_close(predicted[pair], expected, atol=1e-5, rtol=1e-4)


def test_predictions_do_not_depend_on_masked_content(fusion: FusionModel, inputs: Inputs) -> None:
    waveform, *texts, hidden = inputs
    parts = waveform.view(5, 3, 4000)
    other = torch.where(hidden.segments[..., None] == 1, parts.flip(2) // 3, parts).view_as(waveform)
    embedded: list[torch.Tensor] = []
    fusion.segment_embedding.register_forward_hook(lambda _, args, output: embedded.append(output))
    one, two = fusion(*inputs), fusion(other, *texts, hidden)
    assert torch.equal(*embedded)
    for name in ("token_logits", "segments", "match_logits"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert ((one.segment_features - two.segment_features).abs().amax(dim=1) > 0.01).all()


def test_samples_after_the_last_whole_segment_are_not_used() -> None:
    recipe = small_mulap("data.window_s=0.8")
    model, (waveform, *rest) = small_fusion_model(recipe), noise(recipe).inputs
    assert waveform.shape == (5, 1, 12_800)
    other = torch.cat([waveform[..., :12_000], -waveform[..., 12_000:]], dim=2)
    assert_all_close(model(other, *rest), model(waveform, *rest))
    assert not torch.equal(model(-waveform // 2, *rest).match_logits, model(waveform, *rest).match_logits)


def test_padding_has_no_influence(fusion: FusionModel, inputs: Inputs) -> None:
    waveform, token_ids, mask, hidden = inputs
    length = token_ids.shape[1]
    assert mask.sum(dim=1).min() < length
    expected = fusion(*inputs)
    other = torch.where(mask == 1, token_ids, 77)
    assert_all_close(fusion(waveform, other, mask, hidden), expected)
    longer, longer_mask = (nn.functional.pad(part, (0, 3)) for part in (token_ids, mask))
    places = hidden.token_indices // length * (length + 3) + hidden.token_indices % length
    assert_all_close(fusion(waveform, longer, longer_mask, hidden._replace(token_indices=places)), expected)


@pytest.mark.parametrize("segments", [torch.zeros(5, 3), torch.ones(5, 3)], ids=["none", "all"])
def test_nothing_or_everything_may_be_masked(fusion: FusionModel, inputs: Inputs, segments: torch.Tensor) -> None:
    waveform, token_ids, mask, _ = inputs
    hidden = masked_positions(segments.to(torch.uint8), torch.zeros(0, dtype=torch.int64))
    predictions = fusion.train()(waveform, token_ids, mask, hidden)
    assert predictions.token_logits.shape == (0, 20_000)
    assert len(predictions.segments) == len(predictions.segment_features) == segments.sum()
    total(predictions).backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("length", [1, 2])
def test_windows_of_one_segment_and_captions_of_one_token(length: int) -> None:
    recipe = small_mulap("mulap.segment_s=0.75")
    assert recipe.segments == 1
    model, batch = small_fusion_model(recipe), noise(recipe)
    token_ids = batch.token_ids[:, :length]
    mask = torch.zeros_like(token_ids)
    mask[:, 0] = 1
    hidden = masked_positions(torch.tensor([[0], [1], [0], [1], [0]], dtype=torch.uint8), torch.arange(5) * length)
    predictions = model(batch.waveform, token_ids, mask, hidden)
    second = masked_positions(torch.ones(1, 1, dtype=torch.uint8), torch.arange(1))
    alone = model(batch.waveform[1:2], token_ids[1:2, :1], mask[1:2, :1], second)
    torch.testing.assert_close(alone.token_logits[0], predictions.token_logits[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.segments[0], predictions.segments[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.match_logits[0], predictions.match_logits[1], atol=1e-5, rtol=1e-4)
    total(model.train()(batch.waveform, token_ids, mask, hidden)).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize(
    ("weights", "layers"),
    [(weights, layers) for weights in SUBSETS for layers in (1, 2)],
)
def test_every_parameter_is_used_by_a_term(weights: tuple[int, int, int], layers: int) -> None:
    settings = [f"loss.weights.{name}={weight}" for name, weight in zip(("mlm", "mam", "atm"), weights, strict=True)]
    recipe = small_mulap(*settings, f"mulap.fusion_layers={layers}")
    model = small_fusion_model(recipe).train()
    predictions = model(*noise(small_mulap()).inputs)
    mlm, mam, atm = map(bool, weights)
    present = [head is not None for head in (model.token_head, model.segment_head, model.match_head)]
    assert present == [mlm, mam, atm]
    assert [part is not None for part in predictions] == [mlm, mam, mam, atm]
    last: Any = model.blocks[-1]
    assert len(model.blocks) == layers
    assert (last.audio is not None, last.text is not None) == (mam or atm, mlm or atm)
    assert all(block.audio is not None and block.text is not None for block in model.blocks[:-1])
    assert len(last.audio_layers) == (3 - (layers - 1) if mam or atm else 0)
    assert len(model.text_tower.upper_layers) == layers - (not (mlm or atm))
    total(predictions).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_random_numbers_come_from_the_default_generator_in_training_only(fusion: FusionModel, inputs: Inputs) -> None:
    fusion.train()
    torch.manual_seed(3)
    first, second = fusion(*inputs), fusion(*inputs)
    torch.manual_seed(3)
    again = fusion(*inputs)
    for name in ("token_logits", "segments", "match_logits"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
        assert not torch.equal(getattr(first, name), getattr(second, name)), name
    fusion.eval()
    assert all(map(torch.equal, fusion(*inputs), fusion(*inputs)))


def test_bf16_is_for_towers_and_blocks_only(fusion: FusionModel, inputs: Inputs) -> None:
    rounded = small_fusion_model(small_mulap("train.precision=bf16"))
    rounded.load_state_dict(fusion.state_dict())
    seen: dict[str, set[torch.dtype]] = {}
    products = {
        name: module
        for name, module in rounded.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }
    for name, module in products.items():
        part = "heads" if "head." in f"{name}." else name.partition(".")[0]
        module.register_forward_hook(lambda _, args, output, part=part: seen.setdefault(part, set()).add(output.dtype))
    computed, expected = rounded(*inputs), fusion(*inputs)
    assert seen.pop("heads") == {torch.float32}
    assert seen.keys() == {"audio_encoder", "segment_embedding", "text_tower", "blocks"}
    assert all(dtypes == {torch.bfloat16} for dtypes in seen.values())
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.float32}
    for name, part, reference in zip(Predictions._fields, computed, expected, strict=True):
        assert part.dtype == torch.float32, name
        assert 0 < (part - reference).norm() < 0.03 * reference.norm(), name


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_training_does_not_synchronise_with_the_device(precision: str, inputs: Inputs) -> None:
    model = small_fusion_model(small_mulap(f"train.precision={precision}")).train()
    with HostWaits() as waits:
        total(model(*inputs)).backward()
    assert waits.found == []
    assert "index" in waits.operators


def test_warm_started_parameters_are_those_of_the_text_encoder(fusion: FusionModel) -> None:
    warm_started = {id(parameter) for parameter in fusion.warm_started_parameters()}
    names = {name for name, parameter in fusion.named_parameters() if id(parameter) in warm_started}
    assert names == {name for name, _ in fusion.named_parameters() if name.startswith("text_tower.")}
    assert names
