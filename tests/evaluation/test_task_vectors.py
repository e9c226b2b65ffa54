"""Vectors that are kept are used again, those of other corruptions are not; nothing here starts Ray."""

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.corruptions import Corruption
from mulan.evaluation.embedding.cache import FOLDER, embed_cached, embed_corruptions_cached
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.options import EvaluationOptions, SilentObserver
from mulan.evaluation.task_vectors import TaskVectors

NOISE = Corruption("noise", 2)


class Kept(SilentObserver):
    """Fails when something is computed."""

    def progress(self, label: str) -> NoReturn:
        raise AssertionError(f"{label} is computed again")


@pytest.fixture
def vectors(tiny_corpus: str, tmp_path: Path) -> TaskVectors:
    return TaskVectors("tags", Corpus.open(tiny_corpus), EvaluationOptions(str(tmp_path), 0.0), Kept())


def test_kept_vectors_are_used_again(vectors: TaskVectors, tmp_path: Path) -> None:
    encoder = open_encoder("log_mel", name="log_mel")
    kept = {"max_skipped_share": 0.0, "on_message": lambda line: None}
    first = embed_cached(
        str(tmp_path / FOLDER),
        encoder.info,
        vectors.corpus,
        ["test"],
        lambda splits: embed_here(encoder, vectors.corpus, splits, max_skipped_share=0),
        **kept,
    )
    (noisy,) = embed_corruptions_cached(
        str(tmp_path / FOLDER),
        encoder.info,
        vectors.corpus,
        "test",
        [NOISE],
        lambda some: [embed_here(encoder, vectors.corpus, ["test"], max_skipped_share=0, corruption=some[0])],
        **kept,
    )
    again = vectors.of_splits(encoder.info, "log_mel", ["test"])
    (noisy_again,) = vectors.corrupted(encoder.info, "log_mel", [NOISE], "test")
    assert np.array_equal(again.embedded.windows, first.embedded.windows)
    assert np.array_equal(noisy_again.windows, noisy.embedded.windows)
    assert not np.array_equal(noisy_again.windows, again.embedded.windows)
    with pytest.raises(AssertionError, match="log_mel on tags is computed again"):
        list(vectors.corrupted(encoder.info, "log_mel", [Corruption("noise", 3)], "test"))
