"""Tests jobs.plan: what a run will need as a table and as JSON, the comparison with a run, and refusals."""

import json
from pathlib import Path

import pytest

from mulan.planning import reading_cost
from mulan.runs.run import Run
from tests.jobs.called import Job, assert_refused
from tests.planning.planned import miniature_recipe, timed_run

RECIPE = ("--recipe", "demo_miniature", "--gpus", "2")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_cost, "MEASURED_S", 0.0)


def measured_run(storage_uri: Path, data_uri: str) -> Run:
    settings = ("train.steps=12", "train.checkpoint_every_steps=4", "train.validate_every_steps=3")
    return timed_run(str(storage_uri), miniature_recipe(data_uri, *settings), steps=12)


def test_a_plan_by_a_given_speed(job: Job, tiny_corpus: str) -> None:
    code, out, err = job("plan", *RECIPE, "--data", tiny_corpus, "--pairs-per-s", "8", "--json", "plan.json")
    assert (code, err) == (0, "")
    found = json.loads(Path("plan.json").read_text(encoding="utf-8"))
    assert (found["steps"], found["workers"], found["workers_per_node"]) == (6, 2, 2)
    assert found["time"]["steps_s"] == 6.0
    assert "time of steps" in out and "6 s" in out
    assert found["cost"]["total"] > 0


def test_a_plan_by_flops(job: Job, tiny_corpus: str) -> None:
    settings = ("--set", "scale.use_gpu=true", "--set", "train.precision=bf16", "--peak", "NVIDIA A100-SXM4-80GB")
    code, _, err = job("plan", *RECIPE, *settings, "--data", tiny_corpus, "--json", "plan.json")
    assert (code, err) == (0, "")
    speed = json.loads(Path("plan.json").read_text(encoding="utf-8"))["speed"]
    assert speed["pairs_per_s"] * speed["flops_per_pair"] == pytest.approx(0.4 * 312e12)


def test_a_plan_by_a_measured_run_for_another_number_of_gpus(
    job: Job, tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = measured_run(tmp_path_factory.mktemp("runs"), tiny_corpus)
    given = ("--recipe", "demo_miniature", "--gpus", "1", "--data", tiny_corpus, "--measured", run.uri)
    assert job("plan", *given, "--json", "plan.json")[0] == 0
    time = json.loads(Path("plan.json").read_text(encoding="utf-8"))["time"]
    assert time["steps_s"] == pytest.approx(6 * 2 * (2.0 + 0.25))  # six steps at half the speed of two workers
    assert time["validations_s"] == pytest.approx(2 * 2 * 5.0)
    assert time["checkpoints_s"] == pytest.approx(0.75)  # of step 3; no step follows that of step 6


def test_a_comparison(job: Job, tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = measured_run(tmp_path_factory.mktemp("runs"), tiny_corpus)
    code, out, err = job("plan", "--compare", run.uri, "--first-steps", "6", "--json", "compared.json")
    assert (code, err) == (0, "")
    assert "pairs per second" in out
    found = json.loads(Path("compared.json").read_text(encoding="utf-8"))
    assert found["compared"][0]["ratio"] == pytest.approx(2.0 / 2.25)  # the rest is between the steps


def test_a_dry_run_prints_the_recipe(job: Job, tiny_corpus: str) -> None:
    code, out, _ = job("plan", *RECIPE, "--data", tiny_corpus, "--dry-run")
    assert code == 0
    assert "workers = 2" in out


def test_all_faults_are_reported_at_once(job: Job) -> None:
    called = job(
        "plan", "--recipe", "demo_miniature", "--gpus", "3", "--data", "/nowhere",
        "--prices", "none.toml", "--measured", "none",
    )  # fmt: skip
    assert_refused(called, "there are 3 errors", "none.toml", "scale.workers = 3", "there is no run")


def test_a_missing_corpus_and_an_unknown_speed_are_refused(job: Job, tiny_corpus: str) -> None:
    assert_refused(job("plan", *RECIPE, "--data", "/nowhere"), "there is no index.parquet")
    assert_refused(job("plan", *RECIPE, "--data", tiny_corpus), "--measured RUN_URI or --pairs-per-s")
    assert_refused(job("plan", *RECIPE), "names no corpus")


def test_a_measured_run_of_another_model_is_refused(
    job: Job, tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = measured_run(tmp_path_factory.mktemp("runs"), tiny_corpus)
    called = job("plan", *RECIPE, "--data", tiny_corpus, "--measured", run.uri, "--set", "data.window_s=2")
    assert_refused(called, "data.window_s: 1.0 there, 2.0 here")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--pairs-per-s", "0"], "0.0 is not above 0"),
        (["--peak-share", "0"], "0 is not above 0"),
        (["--gpus", "0"], "0 is not at least 1"),
        (["--pairs-per-s", "1", "--measured", "run"], "not allowed with"),
    ],
)
def test_impossible_arguments_are_refused(job: Job, given: list[str], named: str) -> None:
    code, _, err = job("plan", "--recipe", "demo_miniature", *given)
    assert code == 2
    assert named in err
