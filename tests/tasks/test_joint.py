"""Tests the initial weights of joint models, and their retrieval scores."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mulan.config.recipe import Recipe
from mulan.model.outputs import Embeddings
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import PretrainedError, pretrained_folder
from mulan.tasks.joint import JointTask
from tests.model.small import AST, RESNET, small_recipe
from tests.tasks.known import PAIRS, validated
from tests.training.small import small


@pytest.fixture(params=[RESNET, AST], ids=["resnet", "ast"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return small_recipe(request.param)


def test_initial_weights_depend_on_the_seed_and_the_pretrained_file(recipe: Recipe) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return JointTask(recipe).build_model().state_dict()

    one, same, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["audio_projection.weight"], other["audio_projection.weight"])
    pretrained = load_file(pretrained_folder(MINILM) / "model.safetensors")
    prefix = "text_tower.encoder."
    text_weights = {name.removeprefix(prefix): tensor for name, tensor in one.items() if name.startswith(prefix)}
    assert text_weights
    assert all(torch.equal(tensor, pretrained[name]) for name, tensor in text_weights.items())


def test_recipe_without_a_text_encoder() -> None:
    with pytest.raises(PretrainedError, match=r"text_tower\.pretrained"):
        JointTask(Recipe()).build_model()


def test_retrieval_counts_every_window_of_the_recording_as_right() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, PAIRS, 4, generator=generator) for _ in range(2)]
    outputs = [Embeddings(audio, text, torch.tensor(0.1)) for audio, text in parts]
    names = [["a", "b", "c", "d", "e", "f"], ["g", "a", "h", "b", "i", "j"]]
    scores = validated(small("demo"), outputs, names, np.zeros((2, PAIRS, 0), np.uint8))
    audio, text = (torch.cat([part[side] for part in parts]) for side in (0, 1))
    flat = names[0] + names[1]
    reciprocal, first = [], []
    for query, name in zip(text, flat, strict=True):
        order = sorted(range(len(flat)), key=lambda place: -float(query @ audio[place]))
        rank = next(rank for rank, place in enumerate(order, 1) if flat[place] == name)
        reciprocal.append(1 / rank)
        first.append(rank == 1)
    assert scores["mrr"] == pytest.approx(np.mean(reciprocal))
    assert scores["recall1"] == pytest.approx(np.mean(first))
    assert scores["num_items"] == 2 * PAIRS
