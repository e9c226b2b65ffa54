"""Tests that invalid evaluations are refused before anything is embedded."""

from pathlib import Path

import pytest

from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.tasks.joint import JointTask
from tests.jobs.called import Job, assert_refused


@pytest.fixture
def run(job: Job, tiny_corpus: str) -> Run:
    """Returns a run in the folder of the jobs, with an untrained exported model."""
    recipe = load_recipe("demo_miniature", data_uri=tiny_corpus)
    run = Run.at("runs", "x")
    run.begin(recipe)
    JointTask(recipe).export(JointTask(recipe).build_model(), Path(run.model_uri))
    return run


def test_a_dry_run_names_the_models_and_tasks_and_writes_nothing(
    job: Job, run: Run, tiny_corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = sorted(Path.cwd().rglob("*"))
    code, out, err = job("evaluate", "--name", "x", "--dry-run", "--baselines")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"model x: exported={run.model_uri}",
        f"baseline untrained: untrained={run.model_uri}",
        "baseline log_mel: log_mel",
        f"task tags: Tags of the corpus, {tiny_corpus}",
        f"task captions: Captions of the corpus, {tiny_corpus}",
        f"task playlists: Playlists of the corpus, {tiny_corpus}",
        f"task triplets: Text triplets of the corpus, {tiny_corpus}",
    ]
    code, out, err = job("evaluate", "--model", "log_mel", "--task", f"tags={tiny_corpus}", "--out", "r", "--dry-run")
    assert (code, err) == (0, "")
    assert out == f"model log_mel: log_mel\ntask tags: Tags of the corpus, {tiny_corpus}\n"
    code, out, err = job("evaluate", "--name", "x", "--task", "tags", "--max-train-recordings", "2", "--dry-run")
    assert (code, err) == (0, "")
    assert "  Probes are trained on 2 of the " in out
    assert sorted(Path.cwd().rglob("*")) == before


def test_a_corpus_or_a_split_that_does_not_exist_is_refused(
    job: Job, run: Run, tiny_corpus_with_unfiltered_texts: str
) -> None:
    code, out, err = job("evaluate", "--name", "x", "--dry-run", "--data", "/nowhere/tones")
    assert (code, out) == (2, "")
    assert err.startswith("error: corpus /nowhere/tones: there is no index.parquet")
    code, out, err = job("evaluate", "--name", "x", "--dry-run", "--data", tiny_corpus_with_unfiltered_texts)
    assert (code, out) == (2, "")
    assert "it has no recordings in the split 'test'; --split train scores" in err
    code, out, err = job("evaluate", "--name", "x", "--split", "dev")
    assert (code, out) == (2, "")
    assert "invalid choice: 'dev'" in err


def test_a_damaged_or_missing_model_is_refused(job: Job, run: Run) -> None:
    (Path(run.model_uri) / "config.json").write_text("{}")
    code, out, err = job("evaluate", "--name", "x")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: model {run.model_uri}: config.json")
    (Path(run.model_uri) / "model.safetensors").unlink()
    code, out, err = job("evaluate", "--name", "x")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: run {run.uri} has no exported model; export its newest checkpoint")


def test_what_does_not_go_together_is_refused(job: Job, tiny_corpus: str) -> None:
    for arguments in (
        [],
        ["--model", "a", "--task", "tags"],
        ["--task", "tags", "--out", "report"],
        ["--model", "a", "--out", "report"],
    ):
        assert_refused(job("evaluate", *arguments), "give --model, --task NAME=CORPUS and --out, or --storage and")
    models = ("--model", "log_mel", "--out", "report")
    assert_refused(job("evaluate", *models, "--task", "tag"), "there is no task 'tag'; did you mean tags?")
    assert_refused(job("evaluate", *models, "--task", "tags"), "the task tags needs the folder of its corpus")
    assert_refused(job("evaluate", *models, "--task", "tags", "--out", "s3:/x"), "--out 's3:/x'")
    assert_refused(job("evaluate", *models[2:], "--model", "foo=x", "--task", f"tags={tiny_corpus}"), "no kind 'foo'")
    captions = (*models, "--task", f"captions={tiny_corpus}")
    for option in ("--baselines", "--finetune"):
        assert_refused(job("evaluate", *captions, option), f"{option}: none of the tasks has a probe")
    code, _, err = job("evaluate", *models, "--max-skipped-share", "2")
    assert code == 2
    assert "2.0 is not from 0 to 1" in err
    code, _, err = job("evaluate", *models, "--max-train-recordings", "1")
    assert code == 2
    assert "1 is not at least 2" in err
