"""A split that Ray Data embeds has the vectors that the model gives by itself; what nothing decodes is named."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from mulan import MuLan
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.data.corpus.writing import write_corpus
from mulan.data.errors import TooManySkippedRecordings
from mulan.evaluation.embed import EmbeddedSplit, EmbeddingFailed, EvaluationError, embed_split, embed_split_here
from tests.conftest import tone_recording
from tests.evaluation.small_model import RECIPE

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def damaged_corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twenty recordings, written in the reverse order of their ids; two have audio that nothing decodes."""
    uri = str(tmp_path_factory.mktemp("damaged"))

    def recordings() -> Iterator:
        for number in reversed(range(20)):
            recording = tone_recording(number, "test")
            if number == 3:
                recording = replace(recording, audio=b"not audio at all")
            if number == 7:
                recording = replace(recording, audio=recording.audio[: len(recording.audio) // 2])
            if number == 11:
                recording = replace(recording, texts={"short_form": ["only this"]})
            yield recording

    write_corpus(recordings(), uri)
    return uri


def embed(corpus_uri: str, model_uri: str, *, split: str = "test", max_skipped_share: float = 0.1) -> EmbeddedSplit:
    return embed_split(
        Corpus.open(corpus_uri),
        split,
        model_uri=model_uri,
        sample_rate_hz=16_000,
        window_samples=RECIPE.data.window_samples,
        text_source="long_form",
        max_skipped_share=max_skipped_share,
    )


@pytest.fixture(scope="module")
def embedded(damaged_corpus: str, model_uri: str, ray_cluster: None) -> EmbeddedSplit:
    return embed(damaged_corpus, model_uri)


def test_ray_data_gives_the_vectors_that_embed_audio_gives_in_the_order_of_the_ids(
    embedded: EmbeddedSplit, damaged_corpus: str, model_uri: str, tmp_path: Path
) -> None:
    readable = [number for number in range(20) if number not in (3, 7)]
    assert embedded.recording_ids == tuple(f"tone-{number:03d}" for number in readable)
    corpus, files = Corpus.open(damaged_corpus), []
    rows = dict(zip(corpus.recording_ids(range(20)), range(20), strict=True))
    for name in embedded.recording_ids:
        files.append(tmp_path / f"{name}.flac")
        files[-1].write_bytes(read_record(corpus, rows[name]).audio)
    expected = MuLan.from_pretrained(model_uri).embed_audio(files)
    np.testing.assert_allclose(embedded.embeddings, expected, atol=1e-6)
    assert embedded.embeddings.dtype == np.float32
    assert len(np.unique(embedded.embeddings.round(6), axis=0)) == 18  # the comparison could tell recordings apart
    assert embedded.tags == tuple(tuple(tone_recording(number, "test").tags) for number in readable)
    assert embedded.texts == tuple(
        () if number == 11 else tuple(tone_recording(number, "test").texts["long_form"]) for number in readable
    )


def test_this_process_embeds_like_ray_data(embedded: EmbeddedSplit, damaged_corpus: str, model_uri: str) -> None:
    model = MuLan.from_pretrained(model_uri)
    corpus = Corpus.open(damaged_corpus)
    here = embed_split_here(model, corpus, "test", text_source="long_form", max_skipped_share=0.1)
    np.testing.assert_allclose(here.embeddings, embedded.embeddings, atol=1e-6)
    assert replace(here, embeddings=embedded.embeddings) == embedded
    with pytest.raises(EvaluationError, match="no recordings in the split 'validation'"):
        embed_split_here(model, corpus, "validation", text_source="long_form", max_skipped_share=0.1)


def test_skipped_recordings_are_named_with_the_reason(embedded: EmbeddedSplit) -> None:
    skipped = embedded.skipped
    assert sorted(skipped) == ["tone-003", "tone-007"]
    assert skipped["tone-003"].startswith("undecodable audio")
    assert skipped["tone-007"].startswith("truncated audio")


def test_too_many_skipped_recordings_are_an_error_that_names_them(damaged_corpus: str, model_uri: str) -> None:
    with pytest.raises(TooManySkippedRecordings, match=r"(?s)2 of the 20 .* 0\.09 .*tone-003: .*tone-007: "):
        embed(damaged_corpus, model_uri, max_skipped_share=0.09)


def test_a_split_without_recordings_is_an_error(damaged_corpus: str, model_uri: str) -> None:
    with pytest.raises(EvaluationError, match="no recordings in the split 'validation'"):
        embed(damaged_corpus, model_uri, split="validation")


def test_the_end_of_an_actors_process_is_an_error_that_names_the_corpus(
    damaged_corpus: str, model_uri: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()

    def kill_actors() -> None:
        while not ended.wait(0.02):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it has ended
                    if "ray::MapWorker(MapBatches(" in "".join(process.cmdline()):
                        process.kill()

    killer = threading.Thread(target=kill_actors)
    killer.start()
    try:
        with pytest.raises(EmbeddingFailed, match=damaged_corpus) as caught:
            embed(damaged_corpus, model_uri)
    finally:
        ended.set()
        killer.join()
    assert len(str(caught.value).splitlines()) == 1
    assert not capfd.readouterr().err  # no traceback of Ray
