import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from mulan.config.recipe import Recipe
from mulan.data.corpus.index import Corpus
from mulan.evaluation.embedding.labels import read_labels
from mulan.evaluation.evaluation import TaskEvaluation
from mulan.evaluation.protocols.protocol import SetScores
from mulan.evaluation.recordings import EmbeddedRecordings, TaskAudio
from mulan.evaluation.report.assembly import report_evaluation
from mulan.evaluation.report.training import training_report
from tests.evaluation.report.planted_report import encoder_info, planted_tasks


def test_a_report_has_the_recordings_of_its_examples_their_sounds_and_a_map(tiny_corpus: str, tmp_path: Path) -> None:
    corpus = Corpus.open(tiny_corpus)
    recordings = read_labels(corpus, ["train", "test"]).recordings
    vectors = np.eye(len(recordings), dtype=np.float32)
    audio = EmbeddedRecordings(recordings, vectors, np.arange(len(recordings) + 1), is_unit=True)
    hits = [
        {"recording": each.recording_id, "title": "", "tags": list(each.tags), "score": 0.5, "relevant": True}
        for each in recordings[:2]
    ]
    example = {"query": "a low tone", "rank": 1, "relevant": 2, "hits": hits}
    found = SetScores(
        "retrieval.captions", "captions", {"recall10": 0.5}, counts={"recordings": 8}, details={"examples": [example]}
    )
    mtat = planted_tasks()[0]
    evaluation = TaskEvaluation(
        models=(encoder_info("small"),),
        scores={"small": [found]},
        tasks=(mtat, replace(mtat, name="again")),
        audio=dict.fromkeys(("mtat", "again"), TaskAudio("small", audio.of_splits("test").averaged())),
        corpora={("retrieval.captions", "captions"): corpus},
        seconds={"small": 1.0},
    )
    training = training_report([{"step": 3, "loss": 1.5}], Recipe(), {"train": 9.0})
    written = report_evaluation(evaluation, str(tmp_path), training)
    summary = written.summary
    assert [each.alt.split(",")[0] for each in written.maps] == ["MagnaTagATune and 1 more"]
    assert written.maps[0].png().startswith(b"\x89PNG")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report == summary
    assert report["retrieval"]["captions"]["captions"]["recall10"] == 0.5
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:audio/mpeg") == 2
    assert recordings[0].recording_id in page
    assert page.count("data:image/svg+xml") == 2  # a curve, and one map of the recordings of both tasks
    tested = sum(each.split == "test" for each in recordings)
    assert tested < len(recordings)
    assert f"MagnaTagATune and 1 more, small: map of the vectors of {tested} recordings" in page
    assert report["training"]["loss"] == 1.5
    assert "text_tower" in page, "the recipe"
