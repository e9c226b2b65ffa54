import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mulan import MuLan
from mulan.config.audio import ResNetTowerConfig, VggishFrontEndConfig
from mulan.config.recipe import Recipe
from mulan.config.sections import DataConfig, TextTowerConfig
from mulan.data.corpus.index import Corpus
from mulan.data.corpus.records import read_record
from mulan.data.corpus.writing import write_corpus
from mulan.data.errors import TooManySkippedRecordings
from mulan.evaluation.embed import EmbeddedSplit, EvaluationError, embed_split
from mulan.evaluation.evaluate import evaluate
from mulan.model.inference.mulan import export_model
from mulan.model.joint import build_joint_model
from mulan.recipes.miniature import MINILM
from tests.conftest import tone_recording

pytestmark = pytest.mark.usefixtures("ray_cluster")

RECIPE = Recipe(
    data=DataConfig(window_s=0.5),
    front_end=VggishFrontEndConfig(mel_channels=16, frequency_mask_bins=2, time_mask_frames=4),
    audio_tower=ResNetTowerConfig(
        layer="basic", stem_channels=4, stem_stride=2, stage_channels=(4, 8), stage_depths=(1, 1)
    ),
    text_tower=TextTowerConfig(pretrained=MINILM, layers=1, max_tokens=16),
    embedding_dim=8,
)


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    export_model(build_joint_model(RECIPE), RECIPE, folder)
    return str(folder)


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


def test_unreadable_recordings_are_named_with_the_reason(embedded: EmbeddedSplit) -> None:
    unreadable = embedded.unreadable
    assert sorted(unreadable) == ["tone-003", "tone-007"]
    assert unreadable["tone-003"].startswith("undecodable audio")
    assert unreadable["tone-007"].startswith("truncated audio")


def test_too_many_unreadable_recordings_are_an_error_that_names_them(damaged_corpus: str, model_uri: str) -> None:
    with pytest.raises(TooManySkippedRecordings, match=r"(?s)2 of the 20 .* 0\.09 .*tone-003: .*tone-007: "):
        embed(damaged_corpus, model_uri, max_skipped_share=0.09)


def test_a_split_without_recordings_is_an_error(damaged_corpus: str, model_uri: str) -> None:
    with pytest.raises(EvaluationError, match="no recordings in the split 'validation'"):
        embed(damaged_corpus, model_uri, split="validation")


def test_an_evaluation_from_model_and_corpus_to_numbers(tiny_corpus: str, model_uri: str) -> None:
    evaluation = evaluate(model_uri, tiny_corpus, example_queries=["a low tone", "silence"])
    assert evaluation.recordings.recording_ids == tuple(f"tone-{number:03d}" for number in range(40, 48))
    assert evaluation.recordings.embeddings.shape == (8, 8)
    assert {category: scores.n_tags for category, scores in evaluation.zero_shot.items()} == {"genre": 2, "pitch": 4}
    model = MuLan.from_pretrained(model_uri)
    np.testing.assert_array_equal(evaluation.prompts["pitch"]["very high"], model.embed_text(["very high"])[0])
    np.testing.assert_array_equal(evaluation.query_embeddings, model.embed_text(evaluation.queries))
    assert evaluation.retrieval is not None
    assert (evaluation.retrieval.n_queries, evaluation.retrieval.n_items) == (8, 8)
    low = evaluation.recordings.embeddings @ model.embed_text(["a low tone"])[0]
    assert [example.text for example in evaluation.examples] == ["a low tone", "silence"]
    assert evaluation.examples[0].hits[0].recording_id == evaluation.recordings.recording_ids[int(low.argmax())]
    summary = json.loads(json.dumps(evaluation.summary(), allow_nan=False))
    assert summary["zero_shot"]["pitch"]["n_recordings"] == 8
    assert summary["audio_embedding"]["window_samples"] == 8000


def test_a_model_that_diverged_is_an_error_rather_than_a_score(tiny_corpus: str, tmp_path: Path) -> None:
    model = build_joint_model(RECIPE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    export_model(model, RECIPE, tmp_path / "diverged")
    with pytest.raises(EvaluationError, match="not finite"):
        evaluate(str(tmp_path / "diverged"), tiny_corpus)
