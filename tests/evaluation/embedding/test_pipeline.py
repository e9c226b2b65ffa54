"""Ray Data gives the vectors that this process gives; what fails in an actor is an error without a traceback."""

import os
from typing import Any

import numpy as np
import pytest

from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding import local, pipeline
from mulan.evaluation.embedding.local import embed_here
from mulan.evaluation.embedding.pipeline import Actors, embed_corpus
from mulan.evaluation.embedding.windows import CorpusPart
from mulan.evaluation.encoders.encoder import EncoderError
from mulan.evaluation.errors import EmbeddingFailed
from tests.evaluation.embedding.stub_encoder import (
    INFO,
    Quieter,
    StubEncoder,
    open_and_end,
    open_none,
    open_stub,
    open_wrong,
)

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_ray_data_gives_the_vectors_and_labels_of_one_process(damaged: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (local, pipeline):  # more blocks than there are CPUs
        monkeypatch.setattr(module, "BATCHES_PER_BLOCK", 0.75)
    seen: list[tuple[int, int]] = []
    parts = [CorpusPart(split, corruption) for corruption in (Quieter(3), None) for split in ("test", "train")]
    results = embed_corpus(open_stub, INFO, damaged, parts, on_progress=lambda *numbers: seen.append(numbers))
    for part, found in zip(parts, results, strict=True):
        expected = embed_here(StubEncoder(), damaged, [part.split], max_skipped_share=1, corruption=part.corruption)
        np.testing.assert_array_equal(found.embedded.windows, expected.embedded.windows)
        np.testing.assert_array_equal(found.embedded.starts, expected.embedded.starts)
        assert found.embedded.recordings == expected.embedded.recordings
        assert found.skipped == expected.skipped and bool(found.skipped) == (part.split == "test")
    assert seen[-1] == (40, 40) and len(seen) > 4


@pytest.mark.parametrize(
    ("actors", "sizes"),
    [
        (Actors(on_this_machine=False), (1, 8, 100)),
        (Actors(on_this_machine=False, min_actors=12), (12, 12, 100)),
        (Actors(on_this_machine=False, min_actors=200), (100, 100, 100)),
        (Actors(on_this_machine=False, min_actors=2, max_actors=4), (2, 4, 4)),
        (Actors(max_actors=1), (1, 1, 1)),
    ],
)
def test_the_pool_stays_between_its_bounds(actors: Actors, sizes: tuple[int, int, int]) -> None:
    assert actors.sizes(blocks=100, available=8) == sizes
    assert max(Actors(min_actors=9).sizes(blocks=100, available=8)) <= (os.cpu_count() or 1)
    assert actors.sizes(blocks=1, available=8) == (1, 1, 1)


@pytest.mark.parametrize(
    ("open_encoder", "message"),
    [
        (open_none, "there is no encoder for cpu"),
        (open_wrong, r"embed_audio returned float32 \[15, 6\] for 16 windows"),
    ],
)
def test_errors_of_the_encoder_are_raised_as_they_are(
    damaged: Corpus, open_encoder: Any, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EncoderError, match=message) as caught:
        list(embed_corpus(open_encoder, INFO, damaged, [CorpusPart("test")]))
    assert len(str(caught.value).splitlines()) == 1
    assert not capfd.readouterr().err


def test_the_end_of_an_actors_process_is_an_error_that_names_the_corpus(
    damaged: Corpus, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EmbeddingFailed, match=damaged.uri) as caught:
        list(embed_corpus(open_and_end, INFO, damaged, [CorpusPart("test")]))
    assert len(str(caught.value).splitlines()) == 1
    assert not capfd.readouterr().err
