"""Tests that a replayed step gives the same values, writes nothing, and is rejected if its recordings differ."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from mulan.config.recipe import Recipe
from mulan.data.corpus.writing import write_corpus
from mulan.launch.checks import ReplayError, check_replay
from mulan.recipes.registry import load_recipe
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints, remove_checkpoint
from mulan.runs.recorder import Recorder
from mulan.runs.run import Run
from mulan.storage.jsonl import read_lines
from mulan.training.health import Anomaly, NonFiniteStep
from tests.checkpoints import write_checkpoint
from tests.conftest import tone_recording
from tests.processes import run_in_processes, run_job
from tests.training.inline import InlineObserver, train_inline

pytestmark = pytest.mark.processes


def recipe(uri: str, *settings: str) -> Recipe:
    common = ["train.checkpoint_every_steps=3", "batch.micro_batches=4", "train.validation_micro_batches=4"]
    return load_recipe("demo_miniature", [*common, *settings], data_uri=uri)


def train_recorded(run: Run, one: Recipe) -> str | None:
    """Trains in this process with a run's folder, and returns why training stopped."""
    run.begin(one)
    with Recorder(run, first_step=0) as recorder:

        class Recording(InlineObserver):
            def on_step(self, metrics: dict[str, Any]) -> None:
                recorder.step(metrics)

            def on_anomaly(self, anomaly: Anomaly) -> str:
                recorder.anomaly(anomaly)
                return ""

        try:
            train_inline(one, run.uri, Recording)
        except NonFiniteStep as error:
            return str(error)
    return None


def train_of_two(run: Run, one: Recipe) -> None:
    """Trains with two workers, the first of which records."""
    if dist.get_rank() == 0:
        train_recorded(run, one)
    else:
        train_inline(one, run.uri)


def train_both(healthy: tuple[Run, Recipe], diverged: tuple[Run, Recipe]) -> list[str | None]:
    return [train_recorded(*healthy), train_recorded(*diverged)]


@pytest.fixture(scope="module")
def runs(tiny_corpus: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A healthy run of six steps with checkpoints of steps 3 and 6, the first marked as trained on another device, and
    a run that was stopped by its second step."""
    folder = str(tmp_path_factory.mktemp("runs"))
    healthy, diverged = Run(folder, "healthy"), Run(folder, "diverged")
    recipes = recipe(tiny_corpus), recipe(tiny_corpus, "optim.lr=1e37", "optim.warmup_steps=0")
    both = ((healthy, recipes[0]), (diverged, recipes[1]))
    ((ended, stopped),) = run_in_processes(train_both, 1, *both, folder=tmp_path_factory.mktemp("out"))
    assert ended is None
    newest = read_newest(healthy.uri, on_corrupt=pytest.fail, max_step=3)
    assert newest is not None
    write_checkpoint(healthy.uri, newest.state, replace(newest.progress, trained_on=["NVIDIA H100 80GB HBM3"]))
    assert stopped.startswith("the loss of step 2 is nan; the weights are those of step 1. ")
    return healthy, diverged


def words(run: Run, step: int) -> list[str]:
    return ["--storage", run.storage_uri, "--name", run.name, "--replay-step", str(step)]


def files(run: Run) -> dict[str, tuple[int, int]]:
    paths = [path for path in Path(run.uri).rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def test_a_replayed_step_equals_the_step_of_the_run(runs: tuple[Run, Run]) -> None:
    """The replay runs in a separate process, like that of a user."""
    run, before = runs[0], files(runs[0])
    command = [sys.executable, "-m", "jobs.train", *words(run, 5)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert files(run) == before
    assert "replay  from the checkpoint of step 3; steps to run before step 5: 1" in done.stdout
    assert (
        "replay  results are bit-identical only on one kind of device: steps up to 3 were trained on NVIDIA"
        in done.stdout
    )
    same = "replay  steps with the run's recordings: 1; their losses and gradient norms are bitwise equal"
    assert same in done.stdout
    assert re.search(r"replay  step 5  loss .*  \(bitwise equal to the run\)\n", done.stdout)
    then = run.metrics()[4]
    for name in ("loss", "temperature", "grad_norm"):
        (now,) = re.findall(rf"replay  step 5 .* {name} ([0-9.]+)", done.stdout)
        assert float(now) == pytest.approx(then[name], rel=5e-6)  # six digits are shown
    assert "cosine," in done.stdout


def test_a_replayed_step_equals_that_of_two_workers_with_sharded_weights(tiny_corpus: str, tmp_path: Path) -> None:
    run = Run(str(tmp_path), "sharded")
    sharded = recipe(tiny_corpus, "train.zero_stage=3")
    run_in_processes(train_of_two, 2, run, sharded, folder=tmp_path / "out")
    code, out, err = run_job("jobs.train", *words(run, 5), folder=tmp_path / "job")
    assert code == 0, err
    assert "replay  from the checkpoint of step 3; steps to run before step 5: 1" in out
    assert "recordings: 1; their losses and gradient norms are bitwise equal\n" in out
    assert re.search(r"replay  step 5  loss .*  \(bitwise equal to the run\)\n", out)


def test_the_step_that_stopped_a_run_is_diagnosed(runs: tuple[Run, Run], tmp_path: Path) -> None:
    run = runs[1]
    (event,) = [line for line in read_lines(run.events_uri) if "loss" in line["event"]]
    assert event["step"] == 2
    assert run.anomaly_uri(2) in event["event"]
    assert run.replay_command(2) in event["event"]
    stored = json.loads(Path(run.anomaly_uri(2)).read_text())
    assert [len(names) for names in stored["recordings"]] == [8, 8, 8, 8]
    code, out, err = run_job("jobs.train", *words(run, 2), folder=tmp_path)
    assert code == 0, err
    assert "replay  from the initial weights; steps to run before step 2: 1" in out
    assert re.search(r"replay  step 2  loss nan ", out)
    assert re.search(rf"micro-batch 0: embeddings not finite: {stored['recordings'][0][0]}, ", out)


@pytest.mark.parametrize(("step", "message"), [(0, "steps 1 to 6"), (-1, "steps 1 to 6"), (7, "steps 1 to 6")])
def test_a_step_beyond_the_run_is_rejected(step: int, message: str, runs: tuple[Run, Run]) -> None:
    with pytest.raises(ReplayError, match=message):
        check_replay(runs[0], step)
    check_replay(runs[0], 6)
    with pytest.raises(ReplayError, match="steps 1 to 1"):
        check_replay(runs[1], 3)


def test_a_changed_corpus_is_detected_also_from_the_initial_weights(runs: tuple[Run, Run], tmp_path: Path) -> None:
    run, other = runs[0], str(tmp_path / "other")
    for one in checkpoints(run.uri):
        remove_checkpoint(one.uri)
    write_corpus((tone_recording(i + 1, "train" if i < 36 else "validation") for i in range(44)), other)
    code, out, err = run_job("jobs.train", *words(run, 2), "--data", other, folder=tmp_path / "job")
    assert code == 2
    assert "replay  from the initial weights; steps to run before step 2: 1" in out
    assert err.splitlines()[-1].startswith("error: step 1 had other recordings")
