"""Vectors that are kept are used again, those of other corruptions are not; nothing here starts Ray."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.corruptions import Corruption
from mulan.evaluation.embedding.cache import FOLDER, embed_cached
from mulan.evaluation.embedding.collected import CorpusEmbeddings
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.embedding.windows import CorpusPart
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
    parts = [CorpusPart("test"), CorpusPart("test", NOISE)]

    def embed(missing: Sequence[CorpusPart]) -> Iterator[CorpusEmbeddings]:
        for part in missing:
            yield embed_here(encoder, vectors.corpus, ["test"], max_skipped_share=0, corruption=part.corruption)

    folder = str(tmp_path / FOLDER)
    first, noisy = embed_cached(folder, encoder.info, vectors.corpus, parts, embed, on_message=print)
    again = vectors.of_splits(encoder.info, "log_mel", ["test"])
    (noisy_again,) = vectors.corrupted(encoder.info, "log_mel", [NOISE], "test")
    assert np.array_equal(again.embedded.windows, first.embedded.windows)
    assert np.array_equal(noisy_again.windows, noisy.embedded.windows)
    assert not np.array_equal(noisy_again.windows, again.embedded.windows)
    with pytest.raises(AssertionError, match="log_mel on tags, 1 corruptions is computed again"):
        list(vectors.corrupted(encoder.info, "log_mel", [Corruption("noise", 3)], "test"))
