"""Scores of validations against loops over known outputs."""

from typing import Any

import numpy as np
import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.data.batch import NOT_PREDICTED, Batch, Masks
from mulan.data.schedule import Item, Phase
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.model.outputs import Embeddings, Predictions
from mulan.training.validation import validate
from tests.training.small import small

PAIRS, CLASSES = 6, 3


class Known:
    """An engine whose outputs are given beforehand."""

    def __init__(self, outputs: list[Any]) -> None:
        self._outputs, self.modes = iter(outputs), list[bool]()

    def to_device(self, batch: Batch) -> DeviceBatch:
        return to_device(batch, torch.device("cpu"), text_groups=1)

    def forward(self, _: DeviceBatch) -> Any:
        assert not torch.is_grad_enabled()
        return next(self._outputs)

    def evaluation_mode(self, on: bool) -> None:
        self.modes.append(on)


def batch(number: int, names: list[str], tags: np.ndarray, masks: Masks | None = None) -> Batch:
    empty = np.zeros((PAIRS, 0), np.int64)
    waveform = np.zeros((PAIRS, 1, 1), np.int16)
    return Batch(Item(Phase.VALIDATE, 3, number), waveform, empty, empty, tags, tuple(names), (), masks)


def validated(
    recipe: Recipe,
    outputs: list[Any],
    names: list[list[str]],
    tags: np.ndarray,
    masks: tuple[Masks | None, ...] = (None, None),
) -> dict[str, float]:
    engine = Known(outputs)
    batches = [batch(number, of_batch, tags[number], masks[number]) for number, of_batch in enumerate(names)]
    scores = validate(recipe, engine, batches)  # type: ignore[arg-type]
    assert engine.modes == [True, False]
    return scores


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
    assert scores["n_items"] == 2 * PAIRS


def test_tagging_is_scored_class_by_class() -> None:
    rng = np.random.default_rng(0)
    tags = rng.integers(0, 2, (2, PAIRS, CLASSES)).astype(np.uint8)
    tags[:, :, 2] = 0  # a class that no recording bears
    logits = rng.normal(size=(2, PAIRS, CLASSES)).astype(np.float32)
    names = [[f"{number} {place}" for place in range(PAIRS)] for number in range(2)]
    recipe = small("m_resnet50_audioset")
    scores = validated(recipe, [torch.from_numpy(part) for part in logits], names, tags)
    wins = []
    for number in range(2):
        truth, score = tags[:, :, number].ravel(), logits[:, :, number].ravel()
        wins.append(np.mean([p > n for p in score[truth == 1] for n in score[truth == 0]]))
    assert scores["roc_auc"] == pytest.approx(np.mean(wins))
    assert scores["n_tags"] == 2


def test_views_of_audio_alone_find_each_other() -> None:
    parts = [torch.randn(PAIRS, 3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    outputs = [Embeddings(None, None, None, views) for views in parts]
    names = [[f"{number} {place}" for place in range(PAIRS)] for number in range(2)]
    scores = validated(small("semisupcon"), outputs, names, np.zeros((2, PAIRS, 0), np.uint8))
    views = torch.cat(parts)
    first = [float(query @ views[place, -1]) >= max(float(v[0] @ views[place, -1]) for v in views)
             for place, query in enumerate(views[:, 0])]  # fmt: skip
    assert scores["recall1"] == pytest.approx(np.mean(first))
    assert scores["n_items"] == 2 * PAIRS


VOCABULARY, FEATURES, SEGMENTS = 7, 4, 3


def predictions(seed: int) -> tuple[Predictions, Masks]:
    """Random ones, of about half of what there is."""
    rng = np.random.default_rng(seed)
    targets = np.where(rng.random((PAIRS, 5)) < 0.5, rng.integers(0, VOCABULARY, (PAIRS, 5)), NOT_PREDICTED)
    hidden = (rng.random((PAIRS, SEGMENTS)) < 0.5).astype(np.uint8)
    masks = Masks(targets, hidden, (rng.random(PAIRS) < 0.5).astype(np.uint8))
    features = torch.from_numpy(rng.normal(2, 1, (hidden.sum(), FEATURES)).astype(np.float32))
    noise = torch.from_numpy(rng.normal(0, 0.5, features.shape).astype(np.float32))
    logits = torch.from_numpy(rng.normal(size=((targets != NOT_PREDICTED).sum(), VOCABULARY)).astype(np.float32))
    return Predictions(logits, features + noise, features, torch.from_numpy(rng.normal(size=PAIRS))), masks


def test_mulap_is_scored_by_what_it_tells_right() -> None:
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


def test_a_score_of_nothing_is_left_out() -> None:
    nothing = Masks(np.full((PAIRS, 5), NOT_PREDICTED), np.zeros((PAIRS, SEGMENTS), np.uint8), np.ones(PAIRS, np.uint8))
    silent = Predictions(torch.zeros(0, VOCABULARY), torch.zeros(0, FEATURES), torch.zeros(0, FEATURES), None)
    names = [[str(place) for place in range(PAIRS)]] * 2
    tags = np.zeros((2, PAIRS, 0), np.uint8)
    assert validated(small("mulap"), [silent, silent], names, tags, (nothing, nothing)) == {}
