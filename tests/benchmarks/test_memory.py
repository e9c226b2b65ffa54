"""Tests counted activations of graphs of known size, and the figures in the docstrings of recipes."""

import re

import pytest
import torch

from mulan.benchmarks.memory import activation_bytes, calculated_bytes, saved_bytes
from mulan.benchmarks.synthetic import model_to_measure
from mulan.recipes import mulan as recipes
from mulan.recipes.registry import named_recipes


def test_saved_tensors_are_counted_once_and_without_weights() -> None:
    layer = torch.nn.Linear(10, 20, bias=False)
    rows = torch.randn(7, 10)
    assert saved_bytes(lambda: layer(rows)) == 7 * 10 * 4
    assert saved_bytes(lambda: layer(rows) + layer(rows)) == 7 * 10 * 4
    assert saved_bytes(lambda: torch.relu(layer(rows))) == 7 * 10 * 4 + 7 * 20 * 4
    with torch.no_grad():
        assert saved_bytes(lambda: layer(rows)) == 0


def test_activations_are_those_of_one_more_pair() -> None:
    """A window of twice the length needs about twice the memory; a tagger has no text."""
    recipe = named_recipes()["m_resnet50_miniature"]
    longer = recipe.replace({"data.window_s": 2.0})
    one, two = activation_bytes(recipe), activation_bytes(longer)
    assert two["audio"] / one["audio"] == pytest.approx(2, rel=0.1)
    assert two["text"] == one["text"]
    assert activation_bytes(named_recipes()["m_resnet50_audioset_miniature"]).keys() == {"audio"}


@pytest.mark.parametrize("name", ["m_resnet50", "m_ast"])
def test_docstrings_of_recipes_state_the_counted_memory(name: str) -> None:
    stated = re.findall(r"(\d\.\d\d)\s+GB", getattr(recipes, name).__doc__ or "")
    counted = activation_bytes(named_recipes()[name])
    assert [f"{counted['audio'] / 1e9:.2f}", f"{counted['text'] / 1e9:.2f}"] == stated


def test_the_calculated_memory_is_the_sum_of_its_parts() -> None:
    """As the docstrings state it: more micro-batches need memory for waveforms and embeddings alone."""
    recipe = named_recipes()["m_resnet50_miniature"]
    changes = ({"batch.micro_batches": count, "scale.workers": 1} for count in (1, 2))
    one, more = (calculated_bytes(recipe.replace(change)) for change in changes)
    pairs = recipe.batch.pairs_per_micro_batch
    assert more - one == pairs * (16_000 * 2 + 4 * 4 * 32)
    activations, model = activation_bytes(recipe), model_to_measure(recipe)
    of_micro_batch = pairs * (activations["audio"] + activations["text"])
    trained = 24 * sum(parameter.numel() for parameter in model.parameters())
    assert one == pytest.approx(trained + of_micro_batch + more - one)
