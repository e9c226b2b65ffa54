"""Scores of validations against loops over known outputs."""

from typing import Any

import numpy as np
import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.schedule import Item, Phase
from mulan.model.joint import Embeddings
from mulan.training.validation import validate
from tests.training.small import small

PAIRS, CLASSES = 6, 3


class Known:
    """An engine whose outputs are given beforehand."""

    def __init__(self, outputs: list[Any]) -> None:
        self._outputs, self.modes = iter(outputs), list[bool]()

    def to_device(self, batch: Batch) -> Batch:
        return batch

    def forward(self, _: Batch) -> Any:
        assert not torch.is_grad_enabled()
        return next(self._outputs)

    def evaluation_mode(self, on: bool) -> None:
        self.modes.append(on)


def batch(number: int, names: list[str], tags: np.ndarray) -> Batch:
    empty = np.zeros((PAIRS, 0), np.int64)
    waveform = np.zeros((PAIRS, 1, 1), np.int16)
    return Batch(Item(Phase.VALIDATE, 3, number), waveform, empty, empty, tags, tuple(names), ())


def validated(recipe: Recipe, outputs: list[Any], names: list[list[str]], tags: np.ndarray) -> dict[str, float]:
    engine = Known(outputs)
    batches = [batch(number, of_batch, tags[number]) for number, of_batch in enumerate(names)]
    scores = validate(recipe, engine, batches)  # type: ignore[arg-type]
    assert engine.modes == [True, False]
    return scores


def test_retrieval_counts_every_window_of_the_recording_as_right() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, PAIRS, 4, generator=generator) for _ in range(2)]
    outputs = [Embeddings(audio[:, None], text, torch.tensor(0.1)) for audio, text in parts]
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
