"""Tests MuLaP's initial weights, and its scores against loops over known outputs."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mulan.config.recipe import Recipe
from mulan.data.batch import NOT_PREDICTED, Masks
from mulan.model.outputs import Predictions
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import pretrained_folder
from mulan.tasks.mulap import MulapTask
from tests.model.small import noise, small_mulap, tiny_text_tower
from tests.tasks.known import PAIRS, validated
from tests.training.small import small

VOCABULARY, FEATURES, SEGMENTS = 7, 4, 3


@pytest.fixture
def recipe() -> Recipe:
    return small_mulap()


def test_initial_weights_depend_on_the_seed(recipe: Recipe) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        text_tower = tiny_text_tower(3)
        torch.manual_seed(seed)
        model = MulapTask(recipe).build_model(text_tower)
        return {name: weight for name, weight in model.named_parameters() if not name.startswith("text_tower")}

    one, same, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["segment_embedding.positions"], other["segment_embedding.positions"])


def test_the_text_encoder_is_the_recipes_pretrained_one(recipe: Recipe) -> None:
    inputs = noise(recipe).inputs
    model = MulapTask(recipe).build_model()
    pretrained = load_file(pretrained_folder(MINILM) / "model.safetensors")
    for name, weight in model.text_tower.encoder.state_dict().items():
        assert torch.equal(weight, pretrained[name]), name
    for name, weight in model.text_tower.upper_layers.state_dict().items():
        number, _, rest = name.partition(".")
        assert torch.equal(weight, pretrained[f"encoder.layer.{1 + int(number)}.{rest}"]), name
    assert model(*inputs).token_logits.shape == (len(inputs[3].token_indices), 30_522)


def predictions(seed: int) -> tuple[Predictions, Masks]:
    """Returns random masks of about half of the segments and tokens."""
    rng = np.random.default_rng(seed)
    targets = np.where(rng.random((PAIRS, 5)) < 0.5, rng.integers(0, VOCABULARY, (PAIRS, 5)), NOT_PREDICTED)
    hidden = (rng.random((PAIRS, SEGMENTS)) < 0.5).astype(np.uint8)
    masks = Masks(targets, hidden, (rng.random(PAIRS) < 0.5).astype(np.uint8))
    features = torch.from_numpy(rng.normal(2, 1, (hidden.sum(), FEATURES)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.5, features.shape).astype(np.float32))
    logits = torch.from_numpy(rng.normal(size=((targets != NOT_PREDICTED).sum(), VOCABULARY)).astype(np.float32))
    return Predictions(logits, features + noise, features, torch.from_numpy(rng.normal(size=PAIRS))), masks


def test_scores_equal_loops_over_the_predictions() -> None:
    both = [predictions(seed) for seed in (0, 1)]
    names = [[f"{number} {place}" for place in range(PAIRS)] for number in range(2)]
    outputs, masks = [one for one, _ in both], tuple(mask for _, mask in both)
    scores = validated(small("mulap"), outputs, names, np.zeros((2, PAIRS, 0), np.uint8), masks)
    words, pairs, squares = [], [], []
    for one, mask in both:
        assert one.token_logits is not None and one.match_logits is not None
        assert one.segments is not None and one.segment_features is not None
        targets = [target for row in mask.token_targets for target in row if target != NOT_PREDICTED]
        words += [int(logits.argmax()) == target for logits, target in zip(one.token_logits, targets, strict=True)]
        pairs += [
            (logit > 0) == bool(same) for logit, same in zip(one.match_logits.tolist(), mask.matched, strict=True)
        ]
        squares += [(a - b) ** 2 for a, b in zip(one.segments.numpy(), one.segment_features.numpy(), strict=True)]
    features = np.concatenate([one.segment_features.numpy() for one in outputs if one.segment_features is not None])
    variance = ((features - features.mean(axis=0)) ** 2).sum()
    assert scores["mlm_accuracy"] == pytest.approx(np.mean(words))
    assert scores["atm_accuracy"] == pytest.approx(np.mean(pairs))
    assert scores["mam_r2"] == pytest.approx(1 - np.sum(squares) / variance, rel=1e-5)


def test_a_score_without_predictions_is_omitted() -> None:
    nothing = Masks(np.full((PAIRS, 5), NOT_PREDICTED), np.zeros((PAIRS, SEGMENTS), np.uint8), np.ones(PAIRS, np.uint8))
    silent = Predictions(torch.zeros(0, VOCABULARY), torch.zeros(0, FEATURES), torch.zeros(0, FEATURES), None)
    names = [[str(place) for place in range(PAIRS)]] * 2
    tags = np.zeros((2, PAIRS, 0), np.uint8)
    assert validated(small("mulap"), [silent, silent], names, tags, (nothing, nothing)) == {}
