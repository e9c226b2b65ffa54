"""Tests that model FLOPs equal sums written out by hand, and what is counted on real micro-batches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from mulan.config.recipe import Recipe
from mulan.data.batch import NOT_PREDICTED, Batch
from mulan.model.audio_encoder import TrainedModel
from mulan.model.device_batch import to_device
from mulan.model.towers.text import TextTower
from mulan.recipes.registry import load_recipe
from mulan.tasks.task import task_of
from mulan.telemetry.flops import ModelFlops, NotCounted, count_flops
from tests.model.audio_checkpoints import checkpoint_recipe, save_checkpoint
from tests.model.encoders import drawn, encoder_of
from tests.training.small import batches_of, small

DIM = 32
"""Dimension of the joint space of the miniatures."""


def on_real_tensors(model: TrainedModel, recipe: Recipe, batch: Batch) -> int:
    """Counts the operations of a forward and backward pass that are really computed."""
    model.eval()  # waveform augmentation is not counted
    groups = recipe.text_tower.length_groups
    inputs = to_device(batch, torch.device("cpu"), text_groups=groups).inputs
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outputs = model(*inputs)
        given = outputs if isinstance(outputs, tuple) else (outputs,)
        sum(output.sum() for output in given if output is not None and output.requires_grad).backward()  # type: ignore[union-attr]
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["demo", "mulap", "semisupcon"])
def test_flops_are_those_of_real_micro_batches(name: str) -> None:
    """Texts of several lengths, in groups; MuLaP's masks, some of which are of one or no token."""
    recipe = small(name, *([] if name == "mulap" else ["text_tower.length_groups=3"]))
    model = task_of(recipe).build_model()
    flops = count_flops(model, recipe)
    for batch in batches_of(recipe, 0)[:2]:
        # a single token or segment is predicted twice, for the same rounding (mulan.model.mulap.predict)
        twice = 0
        if batch.masks is not None:
            twice += flops.of_token * ((batch.masks.token_targets != NOT_PREDICTED).sum() == 1)
            twice += flops.of_segment * (batch.masks.segment_hidden.sum() == 1)
        assert flops(batch) + twice == on_real_tensors(model, recipe, batch)


def test_texts_in_one_group_are_padded_to_the_longest() -> None:
    """Between and beyond the lengths that were counted, a polynomial of degree 2 is interpolated exactly."""
    flops = ModelFlops(6, {2: 3 * 4 + 5, 5: 3 * 25 + 5, 7: 3 * 49 + 5}, length_groups=1)
    for batch in batches_of(small("demo"), 0):
        assert flops(batch) == 3 * int(batch.attention_mask.sum(axis=1).max()) ** 2 + 5


def linear(rows: int, inputs: int, outputs: int) -> int:
    """Returns 2 N K M: the multiplications and additions of [N, K] times [K, M]."""
    return 2 * rows * inputs * outputs


def layer_forward(length: int, hidden: int, feed_forward: int) -> int:
    """Returns the operations of a transformer layer: four projections, two products of attention, two of the rest."""
    projections = 4 * linear(length, hidden, hidden)
    attention = 2 * linear(length, hidden, length)  # over all heads, scores and weighted values
    return projections + attention + 2 * linear(length, hidden, feed_forward)


def test_flops_of_an_ast_and_a_bert_are_those_of_the_formula() -> None:
    """Layers of the base sizes: a backward pass is twice a forward pass, without the gradient of the model's input."""
    tower = ["hidden_size=768", "layers=2", "heads=12", "feed_forward_size=3072"]
    recipe = load_recipe("m_ast_miniature", [f"audio_tower.{setting}" for setting in tower])
    with torch.device("meta"):
        bert = BertModel(BertConfig(num_hidden_layers=2), add_pooling_layer=False)
    text_tower = TextTower(bert.to_empty(device="cpu"))
    flops = count_flops(task_of(recipe).build_model(text_tower), recipe)
    frames = 1 + (16_000 - 400) // 160  # windows of 1 s, 25 ms long, every 10 ms
    patches = (1 + (32 - 16) // 10) * (1 + (frames - 16) // 10)  # 16 x 16, every 10, in 32 mel channels
    tokens = patches + 2  # [CLS] and the distillation token
    mel = linear(frames, 257, 32)  # has no gradient
    embedding = 2 * linear(patches, 16 * 16, 768)  # forward, and the gradient of the weight
    audio = mel + embedding + 3 * 2 * layer_forward(tokens, 768, 3072) + 3 * linear(1, 768, DIM)
    assert flops.pairs == 8
    for length in (1, 5, 11, 16):
        text = 3 * 2 * layer_forward(length, 768, 3072) + 3 * linear(1, 768, DIM)
        assert flops.of_length(length) == 8 * (audio + text)


def test_frozen_layers_have_no_backward_pass() -> None:
    settings = ["text_tower.layers=3", "text_tower.frozen_layers=2"]
    frozen = load_recipe("demo_miniature", settings)
    trained = load_recipe("demo_miniature", settings[:1])
    few, all_layers = (count_flops(task_of(recipe).build_model(), recipe) for recipe in (frozen, trained))
    layer = layer_forward(9, 384, 1536)
    # of two layers the whole backward pass is missing; the third one begins it, but all of its inputs have no gradient
    saved = all_layers.of_length(9) - few.of_length(9)
    assert saved == 8 * (2 * 2 * layer + 3 * linear(9, 384, 384))


@pytest.mark.parametrize("kind", ["deberta-v2", "llama"])
def test_text_encoders_with_other_attention_are_counted(kind: str) -> None:
    recipe = load_recipe("demo_miniature", ["batch.pairs_per_micro_batch=3"])
    model = task_of(recipe).build_model(TextTower(encoder_of(drawn(kind)), pooling="mean"))
    (batch, *_) = batches_of(recipe, 0, tokens=7)
    real = replace(batch, token_ids=batch.token_ids % 30)
    assert count_flops(model, recipe)(real) == on_real_tensors(model, recipe, real)


@pytest.mark.parametrize("kind", ["data2vec"])
def test_pretrained_audio_encoders_are_counted(kind: str, tmp_path: Path) -> None:
    recipe = checkpoint_recipe(kind, save_checkpoint(kind, tmp_path)).replace({"batch.pairs_per_micro_batch": 2})
    model = task_of(recipe).build_model()
    (batch, *_) = batches_of(recipe, 0)
    assert count_flops(model, recipe)(batch) == on_real_tensors(model, recipe, batch)


def test_counting_changes_neither_the_model_nor_random_draws() -> None:
    recipe = small("semisupcon")  # with waveform augmentation
    model = task_of(recipe).build_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    count_flops(model, recipe)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_model_that_cannot_be_counted_is_reported() -> None:
    class Asking(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features * 2 if features.sum().item() > 0 else features

    recipe = small("m_resnet50_audioset")
    model = task_of(recipe).build_model()
    model.classifier = nn.Sequential(Asking(), model.classifier)  # type: ignore[arg-type]
    with pytest.raises(NotCounted, match=r"DataDependentOutputException: aten\._local_scalar_dense"):
        count_flops(model, recipe)
