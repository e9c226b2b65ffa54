"""A task scores each encoder by what it can do, on what the corpus has, and notes the rest."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mulan.data.errors import TooManySkippedRecordings
from mulan.evaluation.encoders.registry import open_encoder
from mulan.evaluation.options import EvaluationOptions, SilentObserver
from mulan.evaluation.task_run import TaskRun
from mulan.evaluation.tasks.request import task_requests


def run_of(task: str, corpus_uri: str, folder: Path) -> TaskRun:
    (request,) = task_requests([task], default_corpus=corpus_uri)
    return TaskRun(request, EvaluationOptions(str(folder)), SilentObserver())


def test_an_encoder_is_scored_by_what_it_can_do(stored_uri: str, tiny_corpus: str, tmp_path: Path) -> None:
    run, spec = run_of("tags", tiny_corpus, tmp_path), f"parquet={stored_uri}"
    scores = list(run.scores(open_encoder(spec, name="stored"), spec, is_baseline=False))
    assert {(each.section, each.name) for each in scores} == run.sets == {("probes", "genre"), ("probes", "pitch")}
    facts = run.facts()
    assert facts.recordings == {"stored": {"train": 32, "validation": 8, "test": 8}}
    assert [entry.model for entry in facts.left_out] == ["stored"]
    assert run.first_audio is not None
    assert (run.first_audio.model, run.first_audio.scored.num_windows) == ("stored", 8)
    assert {each.split for each in run.first_audio.scored.recordings} == {"test"}


def test_what_a_baseline_cannot_do_is_not_noted(stored_uri: str, tiny_corpus: str, tmp_path: Path) -> None:
    run, spec = run_of("captions", tiny_corpus, tmp_path), f"parquet={stored_uri}"
    encoder = open_encoder(spec, name="stored")
    assert list(run.scores(encoder, spec, is_baseline=True)) == []
    assert run.facts().left_out == ()
    assert list(run.scores(encoder, spec, is_baseline=False)) == []
    assert "task captions on" in run.nothing_evaluated()
    assert "it embeds no text" in run.nothing_evaluated()


def test_texts_without_a_stored_vector_leave_out_only_what_needs_them(
    stored_uri: str, tiny_corpus: str, tmp_path: Path
) -> None:
    folder = tmp_path / "stored"
    folder.mkdir()
    shutil.copy(stored_uri, folder)
    pq.write_table(pa.table({"text": ["low"], "embedding": [[1.0, 0.0, 0.0, 0.0]]}), folder / "texts.parquet")
    run, spec = run_of("tags", tiny_corpus, tmp_path), f"parquet={folder}"
    scores = list(run.scores(open_encoder(spec, name="stored"), spec, is_baseline=False))
    assert {each.section for each in scores} == {"probes"}
    (entry,) = run.facts().left_out
    assert entry.what == "zero shot tagging"
    assert "very high" in entry.reason or "drone" in entry.reason


@pytest.mark.parametrize("task", ["tags", "triplets"])
def test_stored_vectors_are_not_scored_on_what_is_left_of_a_damaged_corpus(
    task: str, model_uri: str, stored_uri: str, tiny_corpus: str, tmp_path: Path
) -> None:
    shutil.copytree(tiny_corpus, tmp_path / "corpus")
    for shard in (tmp_path / "corpus").rglob("*.tar"):
        shard.unlink()
    spec = f"parquet={stored_uri}" if task == "tags" else f"exported={model_uri}"
    run = run_of(task, str(tmp_path / "corpus"), tmp_path)
    with pytest.raises(TooManySkippedRecordings, match=r"recordings in the split.* cannot be read; restore the tars"):
        list(run.scores(open_encoder(spec, name="stored"), spec, is_baseline=False))
