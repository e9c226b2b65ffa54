"""An evaluation from model and corpus to numbers, or an error in place of a score."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mulan import MuLan
from mulan.data.corpus.index import Corpus
from mulan.evaluation.embed import EvaluationError
from mulan.evaluation.evaluate import evaluate
from mulan.tasks.joint import JointTask
from tests.evaluation.small_model import RECIPE

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_an_evaluation_from_model_and_corpus_to_numbers(tiny_corpus: str, model_uri: str) -> None:
    evaluation = evaluate(model_uri, Corpus.open(tiny_corpus), example_queries=["a low tone", "silence"])
    assert evaluation.recordings.recording_ids == tuple(f"tone-{number:03d}" for number in range(40, 48))
    assert evaluation.recordings.embeddings.shape == (8, 8)
    assert {category: scores.num_tags for category, scores in evaluation.zero_shot.items()} == {"genre": 2, "pitch": 4}
    model = MuLan.from_pretrained(model_uri)
    np.testing.assert_array_equal(evaluation.prompts["pitch"]["very high"], model.embed_text(["very high"])[0])
    np.testing.assert_array_equal(evaluation.query_embeddings, model.embed_text(evaluation.queries))
    assert evaluation.retrieval is not None
    assert (evaluation.retrieval.num_queries, evaluation.retrieval.num_items) == (8, 8)
    low = evaluation.recordings.embeddings @ model.embed_text(["a low tone"])[0]
    assert [example.text for example in evaluation.examples] == ["a low tone", "silence"]
    assert evaluation.examples[0].hits[0].recording_id == evaluation.recordings.recording_ids[int(low.argmax())]
    summary = json.loads(json.dumps(evaluation.summary(), allow_nan=False))
    assert summary["zero_shot"]["pitch"]["num_recordings"] == 8
    assert summary["audio_embedding"]["window_samples"] == 8000


def test_a_model_that_diverged_is_an_error_rather_than_a_score(tiny_corpus: str, tmp_path: Path) -> None:
    model = JointTask(RECIPE).build_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    JointTask(RECIPE).export(model, tmp_path / "diverged")
    with pytest.raises(EvaluationError, match="not finite"):
        evaluate(str(tmp_path / "diverged"), Corpus.open(tiny_corpus))
