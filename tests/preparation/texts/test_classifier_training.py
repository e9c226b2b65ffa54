"""Tests the training of a filter: thresholds against other computations, and a filter that is trained on sentences."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, precision_score, recall_score
from transformers import AutoConfig, AutoModel, AutoTokenizer

from mulan.preparation.texts.classifier import TextClassifier
from mulan.preparation.texts.classifier_training import (
    FilterTraining,
    PrecisionNotReached,
    TrainedFilter,
    choose_threshold,
    save_filter,
    score,
    train_filter,
)
from mulan.preparation.texts.labels import LabelledTexts
from mulan.recipes.miniature import MINILM
from mulan.storage.hub import PretrainedError
from mulan.storage.weights_cache import weights_folder
from tests.preparation.texts.labelled_sentences import CHATTER, MUSIC
from tests.preparation.texts.small_bert import save_small_bert

LABELLED = LabelledTexts(tuple(MUSIC[:60] + CHATTER[:60]), (True,) * 60 + (False,) * 60)
HELD_OUT = MUSIC[60:] + CHATTER[60:]
IS_MUSIC = np.array([True] * 20 + [False] * 20)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the folder of the first two layers of a pretrained encoder."""
    folder, saved = weights_folder(MINILM), tmp_path_factory.mktemp("encoder")
    config = AutoConfig.from_pretrained(folder, num_hidden_layers=2)
    AutoModel.from_pretrained(folder, config=config).save_pretrained(saved)
    AutoTokenizer.from_pretrained(folder).save_pretrained(saved)
    return str(saved)


def training_of(encoder: str, **changes: Any) -> FilterTraining:
    given = {"folds": 2, "epochs": 3, "batch_size": 20, "max_tokens": 20} | changes
    return FilterTraining(pretrained=encoder, learning_rate=1e-3, **given)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Returns the folder of a random encoder."""
    folder = tmp_path_factory.mktemp("small")
    save_small_bert(folder)
    return str(folder)


@pytest.fixture(scope="module")
def trained(encoder: str) -> TrainedFilter:
    return train_filter(LABELLED, training_of(encoder))


def test_texts_that_were_not_trained_on_are_told_apart(trained: TrainedFilter) -> None:
    kept = np.array(trained.classifier.keep(HELD_OUT))
    assert precision_score(IS_MUSIC, kept) >= 0.9
    assert recall_score(IS_MUSIC, kept) >= 0.85


def test_the_cross_validation_reaches_the_wanted_precision(trained: TrainedFilter) -> None:
    assert trained.overall.texts == sum(fold.texts for fold in trained.folds) == 120
    assert trained.overall.precision >= 0.9
    assert trained.overall.recall >= 0.85
    assert [fold.texts for fold in trained.folds] == [60, 60]


def test_a_saved_filter_classifies_like_the_trained_one(trained: TrainedFilter, encoder: str, storage_uri: str) -> None:
    save_filter(trained, LABELLED, training_of(encoder), storage_uri)
    loaded = TextClassifier.load(storage_uri)
    assert np.array_equal(loaded.probabilities(HELD_OUT), trained.classifier.probabilities(HELD_OUT))
    assert loaded.threshold == trained.classifier.threshold
    assert loaded.keep(HELD_OUT) == trained.classifier.keep(HELD_OUT)


def test_the_description_states_how_good_the_filter_is(trained: TrainedFilter, encoder: str, tmp_path: Path) -> None:
    save_filter(trained, LABELLED, training_of(encoder), str(tmp_path / "filter"))
    description = json.loads((tmp_path / "filter" / "text_filter.json").read_text())
    assert description["labels"] == {"music": 60, "other": 60}
    assert description["folds"][1]["precision"] == trained.folds[1].precision
    assert description["overall"]["recall"] == trained.overall.recall
    assert description["training"]["pretrained"] == encoder
    assert (tmp_path / "filter" / "model.safetensors").is_file()


def probabilities_of(trained: TrainedFilter) -> list[float]:
    return trained.classifier.probabilities(HELD_OUT[::4]).tolist()


def test_the_seed_determines_everything(small: str) -> None:
    few = LabelledTexts(LABELLED.texts[52:68], LABELLED.labels[52:68])
    short = {"epochs": 1, "batch_size": 8}
    torch.manual_seed(1)
    first = train_filter(few, training_of(small, precision=0.1, **short))
    torch.rand(5)
    again = train_filter(few, training_of(small, precision=0.1, **short))
    other = train_filter(few, training_of(small, precision=0.1, seed=1, **short))
    assert probabilities_of(first) == probabilities_of(again)
    assert (first.folds, first.classifier.threshold) == (again.folds, again.classifier.threshold)
    assert probabilities_of(first) != probabilities_of(other)


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="no configuration"):
        train_filter(LABELLED, training_of(str(tmp_path)))


SCORED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])), min_size=2, max_size=30
)


def naive_threshold(labels: np.ndarray, probabilities: np.ndarray, precision: float) -> float | None:
    """Returns the best threshold by trying all, with scikit-learn's scores."""
    best: tuple[float, float] | None = None
    for threshold in sorted({*probabilities.tolist()}):
        kept = probabilities >= threshold
        recall = recall_score(labels, kept)
        if recall and precision_score(labels, kept) >= precision and (best is None or recall >= best[0]):
            best = recall, threshold
    return best and best[1]


@settings(max_examples=60, deadline=None)
@given(scored=SCORED.filter(lambda rows: any(row[0] for row in rows)), precision=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_the_threshold_is_the_best_of_all(scored: list[tuple[bool, float]], precision: float) -> None:
    labels, probabilities = (np.array(column) for column in zip(*scored, strict=True))
    expected = naive_threshold(labels, probabilities, precision)
    if expected is None:
        with pytest.raises(PrecisionNotReached, match=f"no threshold has a precision of {precision:g}: the best is"):
            choose_threshold(labels, probabilities, precision)
    else:
        assert choose_threshold(labels, probabilities, precision) == expected


def test_scores_equal_those_of_scikit_learn() -> None:
    draws = np.random.default_rng(0)
    labels = draws.random(200) < 0.4
    probabilities = np.round(0.4 * labels + 0.6 * draws.random(200), 2)
    precisions, recalls, thresholds = precision_recall_curve(labels, probabilities)
    for precision, recall, threshold in zip(precisions, recalls, thresholds, strict=False):
        found = score(labels, probabilities >= threshold)
        assert (found.texts, found.precision, found.recall) == (200, precision, recall)
    nothing = score(labels, np.zeros(200, bool))
    assert (nothing.precision, nothing.recall) == (1.0, 0.0)


def test_progress_is_reported_after_each_fold(small: str) -> None:
    few = LabelledTexts(LABELLED.texts[54:66], LABELLED.labels[54:66])
    lines: list[str] = []
    report: Callable[[str], None] = lines.append
    train_filter(few, training_of(small, precision=0.1, epochs=1), progress=report)
    assert lines == ["fold 1 of 2: 6 texts classified", "fold 2 of 2: 6 texts classified"]
