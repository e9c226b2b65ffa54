"""Tests that invalid evaluations are refused before the model is run."""

from pathlib import Path

import pytest

from mulan.config.recipe import recipe_from_toml
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


def test_a_dry_run_loads_the_model_prints_the_recipe_and_writes_nothing(
    job: Job, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    before = sorted(Path.cwd().rglob("*"))
    code, out, err = job("evaluate", "--name", "x", "--dry-run", "--split", "validation")
    assert (code, err) == (0, "")
    assert recipe_from_toml(out, name="printed") == run.recipe()
    assert sorted(Path.cwd().rglob("*")) == before


def test_a_corpus_or_a_split_that_does_not_exist_is_refused(
    job: Job, run: Run, tiny_corpus_with_unfiltered_texts: str
) -> None:
    code, out, err = job("evaluate", "--name", "x", "--dry-run", "--data", "/nowhere/tones")
    assert (code, out) == (2, "")
    assert err.startswith("error: corpus /nowhere/tones: there is no index.parquet")
    code, out, err = job("evaluate", "--name", "x", "--dry-run", "--data", tiny_corpus_with_unfiltered_texts)
    assert (code, out) == (2, "")
    assert "it has no recordings in the split 'test'" in err
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


def test_a_tagger_is_refused_with_its_use(job: Job, tiny_corpus: str) -> None:
    run = Run.at("runs", "tagger")
    run.begin(load_recipe("m_resnet50_audioset_miniature", data_uri=tiny_corpus))
    code, out, err = job("evaluate", "--name", "tagger")
    assert (code, out) == (2, "")
    assert "trained a tagger, which has no text tower to evaluate" in err
    assert f"audio_tower.pretrained={run.model_uri}" in err


def test_a_tower_that_cannot_start_from_an_exported_model_is_not_advised_to(job: Job, tiny_corpus: str) -> None:
    families = ["audio_tower.family=ast", "front_end.family=kaldi", "front_end.time_mask_frames=10"]
    run = Run.at("runs", "ast")
    run.begin(load_recipe("m_resnet50_audioset_miniature", families, data_uri=tiny_corpus))
    code, _, err = job("evaluate", "--name", "ast")
    assert code == 2
    assert err.endswith(f"its validation scores are in {run.metrics_uri}\n")


def test_what_does_not_go_together_is_refused(job: Job, tiny_corpus: str) -> None:
    assert_refused(job("evaluate"), "give --model, --task and --out, or --storage and --name of a run")
    assert_refused(job("evaluate", "--model", "a", "--task", "tags"), "--out is missing")
    assert_refused(job("evaluate", "--task", "tags"), "--model, --out is missing")
    models = ("--model", "log_mel", "--out", "report")
    assert_refused(job("evaluate", *models, "--task", "tag"), "there is no task 'tag'; did you mean tags?")
    assert_refused(job("evaluate", *models, "--task", "tags"), "the task tags needs the folder of its corpus")
    assert_refused(job("evaluate", *models, "--task", "tags", "--name", "x"), "--name is that of a run")
    assert_refused(job("evaluate", *models[2:], "--model", "foo=x", "--task", f"tags={tiny_corpus}"), "no kind 'foo'")


def test_a_dry_run_of_models_names_the_tasks(job: Job, tiny_corpus: str) -> None:
    code, out, err = job("evaluate", "--model", "log_mel", "--task", f"tags={tiny_corpus}", "--out", "r", "--dry-run")
    assert (code, err) == (0, "")
    assert out == f"tags: Tags of the corpus, {tiny_corpus}\n"
