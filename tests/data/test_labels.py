"""Tests classes and multi-hot tags against a loop over the recordings."""

import numpy as np
import pytest

from mulan.config.objectives import TaggingConfig
from mulan.data.corpus.index import Corpus
from mulan.data.labels import class_names, multi_hot
from mulan.data.plan import PlanError
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.recipes.registry import load_recipe


def test_classes_are_the_tags_of_the_corpus_in_alphabetical_order(tiny_corpus: str) -> None:
    corpus = Corpus.open(tiny_corpus)
    assert class_names(corpus, TaggingConfig(prefix="genre:", classes=2)) == ("genre:drone", "genre:tone")
    pitches = class_names(corpus, TaggingConfig(prefix="pitch:", classes=4))
    assert pitches == ("pitch:high", "pitch:low", "pitch:middle", "pitch:very high")


def test_a_different_number_of_classes_is_rejected(tiny_corpus: str) -> None:
    with pytest.raises(PlanError, match=r"has 0 tags that begin with 'audioset:'.* 527; .*tagging.classes=0"):
        class_names(Corpus.open(tiny_corpus), TaggingConfig())


def test_multi_hot_rows_are_the_tags_of_each_recording(tiny_corpus: str) -> None:
    corpus = Corpus.open(tiny_corpus)
    classes = ("pitch:high", "genre:tone", "pitch:absent")
    rows = [5, 0, 11, 5]
    expected = [[int(name in corpus.table["tags"][row].as_py()) for name in classes] for row in rows]
    matrix = multi_hot(corpus, rows, classes)
    assert matrix.dtype == np.uint8
    assert matrix.tolist() == expected
    assert multi_hot(corpus, rows, ()).shape == (4, 0)


def test_batches_have_tags_only_if_used_and_no_text_without_a_text_tower(tiny_corpus: str) -> None:
    recipe = load_recipe("m_resnet50_audioset_miniature", data_uri=tiny_corpus)
    by_name = {row["recording_id"]: row["tags"] for row in Corpus.open(tiny_corpus).table.to_pylist()}
    for item in (Item(Phase.TRAIN, 3, 1), Item(Phase.VALIDATE, 3, 1)):
        batch = MicroBatchReader.from_recipe(recipe)(item)
        expected = [[int(tag in by_name[name]) for tag in ("genre:drone", "genre:tone")] for name in batch.recording_id]
        assert batch.tags.tolist() == expected
        assert batch.token_ids.shape == batch.attention_mask.shape == (8, 0)
