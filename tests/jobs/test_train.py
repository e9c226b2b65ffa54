"""Tests that invalid training jobs are refused before anything is started, and that a dry run changes nothing."""

import shutil
from pathlib import Path
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from mulan.data.corpus.index import Corpus
from mulan.data.corpus.index_rows import INDEX_NAME, write_index
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from tests.jobs.called import Job, assert_refused
from tests.model.audio_checkpoints import save_checkpoint


def test_a_corpus_that_does_not_exist_is_refused(job: Job) -> None:
    arguments = ("--recipe", "demo_miniature", "--name", "x", "--data", "/nowhere/tones", "--dry-run")
    assert_refused(job("train", *arguments), "corpus /nowhere/tones: there is no index.parquet")


def test_a_corpus_and_weights_that_do_not_meet_the_recipe_are_refused(job: Job, tiny_corpus: str) -> None:
    arguments = ["--recipe", "demo_miniature", "--name", "x", "--data", tiny_corpus, "--dry-run"]
    arguments += ["--set", "text_tower.pretrained=/nowhere/bert"]
    assert_refused(job("train", *arguments), "there is no folder /nowhere/bert")
    arguments[-1] = "batch.pairs_per_micro_batch=2"
    assert_refused(job("train", *arguments, "--set", "batch.micro_batches=1", "--set", "scale.workers=1"), "playlist")


def test_trackers_that_cannot_be_used_are_refused_before_the_corpus_is_opened(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    arguments = ("--recipe", "demo_miniature", "--name", "x", "--data", "/nowhere/tones")
    tracked = job("train", *arguments, "--set", 'logging.trackers=["mlflow"]')
    assert_refused(tracked, "logging.trackers names mlflow, but MLFLOW_TRACKING_URI is not set; set it to the address")


def test_a_printed_recipe_can_be_used_as_a_file(job: Job, tiny_corpus: str) -> None:
    _, printed, _ = job("train", "--recipe", "demo_miniature", "--name", "x", "--data", tiny_corpus, "--dry-run")
    Path("mine.toml").write_text(printed)
    assert job("train", "--recipe", "mine.toml", "--name", "x", "--dry-run") == (0, printed, "")


def test_the_licence_of_a_pretrained_audio_encoder_is_printed(
    job: Job, tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = save_checkpoint("hubert", tmp_path_factory.mktemp("hubert"), licence="cc-by-nc-4.0")
    arguments = ["--recipe", "demo_miniature", "--name", "x", "--data", tiny_corpus, "--dry-run"]
    arguments += ["--set", "front_end.family=pretrained", "--set", "audio_tower.family=pretrained"]
    code, out, _ = job("train", *arguments, "--set", f"audio_tower.pretrained={spec}")
    assert code == 0
    assert out.endswith(f"# audio tower {spec}: licence cc-by-nc-4.0\n")
    assert_refused(
        job("train", *arguments, "--set", f"audio_tower.pretrained={spec}", "--set", "data.sample_rate_hz=24000"),
        "its feature extractor expects 16000 Hz, but data.sample_rate_hz = 24000. Change these fields of the recipe.",
    )


def test_a_dry_run_refuses_a_run_with_another_recipe(job: Job, tiny_corpus: str, tmp_path: Path) -> None:
    Run.at("runs", "x").begin(load_recipe("demo_miniature", data_uri=tiny_corpus))
    arguments = [
        "--recipe",
        "demo_miniature",
        "--name",
        "x",
        "--data",
        tiny_corpus,
        "--dry-run",
        "--set",
        "optim.lr=0.25",
    ]
    code, out, err = job("train", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: run {tmp_path}/runs/x has another recipe")
    assert "optim.lr: 0.001 there, 0.25 here" in err


def test_the_index_is_read_once(job: Job, tiny_corpus: str) -> None:
    with patch.object(Corpus, "open", wraps=Corpus.open) as opened:
        code, *_ = job("train", "--recipe", "demo_miniature", "--name", "x", "--data", tiny_corpus, "--dry-run")
    assert code == 0
    assert opened.call_count == 1


def test_a_run_is_resumed_on_a_copy_of_its_corpus_but_not_on_another_corpus(
    job: Job, tiny_corpus: str, tmp_path: Path
) -> None:
    recipe, corpus = load_recipe("demo_miniature", data_uri=tiny_corpus), Corpus.open(tiny_corpus)
    Run.at("runs", "x").begin(recipe, corpus.index_sha256)
    shutil.copytree(tiny_corpus, "copy")
    arguments = ["--recipe", "demo_miniature", "--name", "x", "--data", "copy", "--dry-run", "--set", "train.steps=9"]
    moved = recipe.replace({"data.uri": f"{tmp_path}/copy", "train.steps": 9})
    assert job("train", *arguments) == (0, moved.to_toml(), "")
    write_index(pq.read_table(Path(tiny_corpus, INDEX_NAME)).slice(1), "copy")
    code, out, err = job("train", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: run {tmp_path}/runs/x was trained on another corpus")
    assert f"{tiny_corpus!r} (index {corpus.index_sha256[:12]}) there, '{tmp_path}/copy' (index " in err


def test_a_replay_needs_an_existing_step_of_a_run_but_no_recipe(job: Job, tiny_corpus: str) -> None:
    code, _, err = job("train", "--name", "x")
    assert code == 2
    assert "required: --recipe" in err
    assert_refused(job("train", "--name", "x", "--replay-step", "3"), "there is no run", "runs/x")
    run = Run.at("runs", "x")
    run.begin(load_recipe("demo_miniature", data_uri=tiny_corpus))
    code, out, err = job("train", "--name", "x", "--replay-step", "3")
    assert (code, out) == (2, "")
    assert err == f"error: --replay-step 3: run {run.uri} has no steps yet\n"


def test_steps_that_cannot_be_profiled_are_refused(job: Job) -> None:
    arguments = ("--recipe", "demo_miniature", "--name", "x", "--data", "/nowhere")
    assert_refused(job("train", *arguments, "--profile-steps", "6:7"), "--profile-steps 6:7: the last step is 6")
    code, out, err = job("train", *arguments, "--profile-steps", "9:8")
    assert (code, out) == (2, "")
    assert "argument --profile-steps: 9:8 is no range of steps: 1 <= A <= B is needed" in err
    code, out, err = job("train", "--name", "x", "--replay-step", "3", "--watch-hangs")
    assert (code, out) == (2, "")
    assert "--replay-step trains nothing, so that there is nothing to profile or to watch" in err
