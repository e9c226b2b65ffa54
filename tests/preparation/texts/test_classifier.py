"""Tests the classifier of long-form texts: its probabilities, its threshold and its files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from mulan.preparation.texts.classifier import TextClassifier
from mulan.storage.hub import PretrainedError
from tests.preparation.texts.small_bert import save_small_bert

TEXTS = ["short", "a much longer text about a slow waltz with strings", "夜", "word " * 100, "a slow waltz"] * 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of a random classifier of two narrow layers."""
    folder = tmp_path_factory.mktemp("filter")
    save_small_bert(folder)
    describe(folder, threshold=0.5)
    return folder


def describe(folder: Path, **changes: object) -> None:
    description = {"format_version": 1, "threshold": 0.5, "max_tokens": 32} | changes
    (folder / "text_filter.json").write_text(json.dumps(description))


def test_probabilities_equal_those_of_single_texts(folder: Path) -> None:
    classifier = TextClassifier.load(str(folder))
    network = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    with torch.no_grad():
        for text in TEXTS[:5]:
            inputs = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
            expected.append(network(**inputs).logits.softmax(1)[0, 1].item())
    found = classifier.probabilities(TEXTS)
    assert np.allclose(found.reshape(30, 5), expected, atol=1e-6)
    assert np.ptp(expected) > 0.01
    assert len(classifier.probabilities([])) == 0


def test_texts_are_kept_from_the_threshold_on(folder: Path) -> None:
    classifier = TextClassifier.load(str(folder))
    probabilities = classifier.probabilities(TEXTS)
    classifier.threshold = float(sorted({*probabilities})[2])
    assert classifier.keep(TEXTS) == [probability >= classifier.threshold for probability in probabilities]
    assert 0 < sum(classifier.keep(TEXTS)) < len(TEXTS)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{", "text_filter.json is damaged"),
        ("[]", "text_filter.json is damaged"),
        ('{"format_version": 1}', "text_filter.json is damaged: KeyError: 'threshold'"),
        ('{"format_version": 2, "threshold": 0.5, "max_tokens": 9}', "has the format version 2, this program reads 1"),
        ('{"format_version": 1, "threshold": 5, "max_tokens": 9}', "impossible threshold"),
        ('{"format_version": 1, "threshold": "x", "max_tokens": 9}', "text_filter.json is damaged"),
    ],
)
def test_damaged_descriptions_are_refused(folder: Path, content: str, fault: str) -> None:
    (folder / "text_filter.json").write_text(content)
    with pytest.raises(PretrainedError, match=fault):
        TextClassifier.load(str(folder))
    describe(folder)


def test_missing_and_damaged_files_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "text_filter.json").unlink()
    with pytest.raises(PretrainedError, match=r"no description in .*Set text\.filter to a folder"):
        TextClassifier.load(str(folder))
    describe(folder)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(PretrainedError, match="cannot be loaded"):
        TextClassifier.load(str(tmp_path))


def test_an_encoder_without_a_classifier_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    BertForSequenceClassification.from_pretrained(folder).bert.save_pretrained(tmp_path)
    with pytest.raises(PretrainedError, match=r"has no weights for classifier\.bias, classifier\.weight"):
        TextClassifier.load(str(tmp_path))
