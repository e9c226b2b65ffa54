"""Tests sweeps on this machine, some of whose processes are killed."""

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from mulan.config.recipe import recipe_from_toml
from mulan.recipes.registry import load_recipe
from mulan.runs import lease
from mulan.runs.checkpoint_list import checkpoints
from mulan.runs.lease import RunHeld, hold_lease
from mulan.runs.run import Run
from mulan.storage.jsonl import read_lines
from tests.waiting import wait_until
from tune.errors import SweepError
from tune.objective import objectives_of
from tune.plan import SweepPlan
from tune.space import SpaceError, load_space
from tune.sweep import for_sweep, main
from tune.trial import planned_trials

COMMAND = [sys.executable, "-m", "tune.sweep", "--recipe", "demo_miniature"]


def sweep(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=500)


def table(output: str) -> str:
    return output[output.index("trials, best first") - 2 :]


GRID = '[space]\n"optim.lr" = { grid = [0.01, 1e30] }\n"text_tower.max_tokens" = { choice = [12] }\n'


@pytest.mark.long(group="jobs")
@pytest.mark.processes
def test_a_sweep_of_a_grid_records_what_diverged_and_prints_the_settings_of_the_best(
    tiny_corpus: str, tmp_path: Path
) -> None:
    (tmp_path / "space.toml").write_text(GRID)
    where = ["--data", tiny_corpus, "--storage", str(tmp_path), "--name", "s"]
    searched = ["--search", "grid", "--space", str(tmp_path / "space.toml")]
    done = sweep(*where, *searched, "--set", "train.steps=4", "--set", "train.validate_every_steps=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    result = json.loads((tmp_path / "s" / "sweep.json").read_text())
    own, better, diverged = result["trials"]
    assert (own["settings"], own["state"]) == ([], "completed")
    assert better["settings"] == ["optim.lr=0.01", "text_tower.max_tokens=12"]
    assert diverged["state"] == "diverged"
    assert diverged["failure"]["step"] < 4
    assert re.search(r"^trial_0002 diverged at step \d: .*(loss|gradient norm) of step", done.stdout, re.MULTILINE)
    assert result["best"]["recall10"] == max(
        one["figures"]["recall10"] for one in (own, better) if one["state"] == "completed"
    )
    best = re.search(r"^best: (.*)$", done.stdout, re.MULTILINE)
    assert best
    words = [word for setting in result["best"]["settings"] for word in ("--set", setting)]
    assert best[1] == (shlex.join(words) or "the recipe as it is")
    run = Run(str(tmp_path / "s" / "trials"), "trial_0001")
    assert (run.recipe().optim.lr, run.recipe().text_tower.max_tokens) == (0.01, 12)
    assert {path.name for path in (tmp_path / "s").iterdir()} >= {"sweep.html", "sweep.parquet", "search.json"}


def test_a_second_driver_of_a_sweep_is_refused(
    tiny_corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL_PERIOD_S", 0.05)
    arguments = ["--recipe", "demo_miniature", "--data", tiny_corpus, "--storage", str(tmp_path), "--name", "s"]
    monkeypatch.setattr(sys, "argv", ["tune.sweep", *arguments, "--trials", "1"])
    with hold_lease(str(tmp_path / "s")), pytest.raises(RunHeld, match=rf"{tmp_path}/s has a driver already"):
        main()
    assert [one.name for one in (tmp_path / "s").iterdir()] == ["lease"]


def kill_when(process: "subprocess.Popen[str]", reached: Callable[[], bool]) -> None:
    """Kills a command and all its descendants once a state is reached, like the loss of its machine."""
    try:
        wait_until(lambda: reached() or process.poll() is not None, what="a checkpoint", limit_s=300)
        assert process.poll() is None
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()


@pytest.mark.long(group="jobs")
@pytest.mark.processes
def test_a_killed_sweep_is_resumed_by_its_name(tiny_corpus: str, tmp_path: Path) -> None:
    settings = ["train.steps=40", "train.validate_every_steps=10", "scale.workers=1", "scale.data_cpus=1"]
    call = ["--data", tiny_corpus, "--storage", str(tmp_path), "--name", "s", "--concurrent", "1", "--trials", "2"]
    call += ["--search", "optuna", *(word for setting in settings for word in ("--set", setting))]
    first, second = (Run(str(tmp_path / "s" / "trials"), f"trial_000{number}") for number in (0, 1))
    begun = subprocess.Popen([*COMMAND, *call], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    kill_when(begun, lambda: any(one.steps_done >= 10 for one in checkpoints(first.uri)))
    assert len(first.metrics()) < 40

    done = sweep(*call)
    assert done.returncode == 0, done.stdout + done.stderr
    events = [line["event"] for line in read_lines(first.events_uri)]
    assert re.match(r"1 workers continue from step [123]0 on ", events[-1])
    assert [line["step"] for line in first.metrics()] == list(range(1, 41))
    assert len(second.metrics()) >= 10
    assert {path.name for path in Path(first.storage_uri).iterdir()} == {"trial_0000", "trial_0001"}
    assert {"trial_0000", "trial_0001"} <= set(table(done.stdout).split())

    written = [Path(run.metrics_uri).stat().st_mtime_ns for run in (first, second)]
    again = sweep(*call)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout == table(done.stdout)
    assert [Path(run.metrics_uri).stat().st_mtime_ns for run in (first, second)] == written

    other = sweep(*call, "--set", "optim.warmup_steps=1")
    assert other.returncode == 2
    assert "has another recipe" in other.stderr


def begun(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_process(sweep: "subprocess.Popen[str]", kind: str, *, when: Callable[[], bool]) -> None:
    """Kills a process of a running sweep, by its title, once a state is reached."""

    def killed() -> bool:
        assert sweep.poll() is None, sweep.communicate()
        for one in psutil.Process(sweep.pid).children(recursive=True) if when() else ():
            with suppress(psutil.NoSuchProcess):
                if kind in one.cmdline()[0]:
                    one.kill()
                    return True
        return False

    wait_until(killed, what=f"a {kind}", limit_s=300)


@pytest.mark.long(group="jobs")
@pytest.mark.processes
@pytest.mark.timeout(1800)
def test_a_sweep_with_killed_processes_ends_with_the_same_results(tiny_corpus: str, tmp_path: Path) -> None:
    settings = ["train.steps=12", "train.validate_every_steps=2", "scale.workers=1", "scale.data_cpus=1"]
    common = ["--data", tiny_corpus, "--storage", str(tmp_path)]
    common += [word for setting in settings for word in ("--set", setting)]
    call = [*common, "--name", "s", "--trials", "6"]
    recipe = for_sweep(load_recipe("demo_miniature", settings, data_uri=tiny_corpus), trials=6)
    run, space = Run(str(tmp_path), "s"), load_space("default", recipe)
    trials = planned_trials(SweepPlan(recipe, run, space, "random", objectives_of([], recipe)), 6)

    def is_training(number: int) -> bool:
        return bool(checkpoints(trials[number].run.uri)) and not trials[number].is_over(recipe)

    def num_starts(number: int) -> int:
        return sum("continue from step" in line["event"] for line in read_lines(trials[number].run.events_uri))

    interrupted = begun(*call)
    kill_process(interrupted, "ImplicitFunc", when=lambda: is_training(0))
    wait_until(lambda: num_starts(0) == 2, what="the trial in another process", limit_s=300)
    kill_process(interrupted, "RayTrainWorker", when=lambda: is_training(1))
    wait_until(lambda: num_starts(1) == 2, what="the trial with another worker", limit_s=300)
    interrupted.terminate()
    output = interrupted.communicate(timeout=60)[0]
    assert interrupted.returncode == 130, output
    assert "trial_0000  failed, or its process was lost; it continues in another one" in output
    assert "Traceback" not in output
    assert (
        f"resumes from the newest checkpoint: {sys.executable} -m tune.sweep --recipe demo_miniature --data" in output
    )

    starts = sum(map(num_starts, range(6)))
    resumed = begun(*call)
    wait_until(lambda: sum(map(num_starts, range(6))) > starts, what="a trial in the resumed sweep", limit_s=300)
    resumed.send_signal(signal.SIGINT)
    assert resumed.wait(timeout=60) == 130

    done = sweep(*call)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "s" / "trials").iterdir()} == {trial.run.name for trial in trials}
    points = [trial.point or {} for trial in trials]
    rates = [point.get("optim.lr", recipe.optim.lr) for point in points]
    assert [trial.run.recipe().optim.lr for trial in trials] == rates
    assert all(trial.is_over(recipe) for trial in trials)
    assert any(trial.was_stopped() for trial in trials), "ASHA has not stopped a trial"
    best = json.loads((tmp_path / "s" / "sweep.json").read_text())["best"]
    words = [word for setting in best["settings"] for word in ("--set", setting)]
    assert f"\nbest: {shlex.join(words) or 'the recipe as it is'}\n" in done.stdout
    killed = trials[1]
    words = [word for setting in killed.settings for word in ("--set", setting)]
    again = [sys.executable, "-m", "jobs.train", "--recipe", "demo_miniature", *common, "--name", "again", *words]
    subprocess.run(again, check=True, timeout=500, stdout=subprocess.DEVNULL)
    objective = objectives_of([], recipe)[0]
    alone = dict(objective.scores(Run(str(tmp_path), "again").metrics()))
    found = dict(objective.scores(killed.run.metrics()))
    assert found
    assert found == pytest.approx({step: alone[step] for step in found}, rel=1e-6)


def test_a_dry_run_prints_the_recipe_and_the_preview(
    tiny_corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = ["--data", tiny_corpus, "--storage", str(tmp_path / "runs"), "--trials", "2", "--dry-run"]
    monkeypatch.setattr(sys, "argv", ["sweep.py", "--recipe", "demo_miniature", *words])
    main()
    printed = capsys.readouterr().out
    recipe = recipe_from_toml(printed, name="printed")
    assert recipe == for_sweep(load_recipe("demo_miniature", [], data_uri=tiny_corpus), trials=2)
    comments = [line for line in printed.splitlines() if line.startswith("#")]
    assert comments[0] == "# search space default, by random search"
    assert sum("  trial_000" in line for line in comments) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.processes
def test_invalid_sweeps_are_refused(tmp_path: Path) -> None:
    recipe = load_recipe("demo_miniature", ["train.validation_micro_batches=0"])
    with pytest.raises(
        SweepError, match=r"--trials 0: must be between 1 and 10000; --concurrent 0: at least 1 is needed; train\.val"
    ):
        for_sweep(recipe, trials=0, concurrent=0)
    done = sweep("--trials", "1", "--data", str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: corpus")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--trials", "1", "--concurrent", "0"], "--concurrent 0: at least 1 is needed"),
        ([], "--search random needs a number of trials; give --trials"),
        (["--trials", "1", "--space", "none"], "space none: no such space"),
        (["--trials", "1", "--objective", "loss=min"], "losses at different temperatures"),
        (["--trials", "1", "--grace-steps", "0"], "--grace-steps 0: must be between"),
        (
            ["--trials", "9", "--search", "grid", "--space", "GRID"],
            "the grid has 2 points, so give at most 3",
        ),
        (["--search", "grid"], "is an interval"),
    ],
)
def test_invalid_arguments_are_refused_before_the_corpus_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], fault: str
) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    words = [str(tmp_path / "grid.toml") if word == "GRID" else word for word in words]
    where = ["--recipe", "demo_miniature", "--data", "/nowhere", "--storage", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["tune.sweep", *where, *words])
    with pytest.raises(SweepError, match=re.escape(fault)):
        main()
    assert not (tmp_path / "runs").exists()


FAULTY = """
[space]
"optim.lrr" = { loguniform = [1e-4, 1e-2] }
"optim.warmup_steps" = { randint = [5, 5] }
"text_tower.max_tokens" = { grid = [12] }
"scale.workers" = { choice = [1, 2] }
"loss.temperature_init" = { uniform = [0.1, 1.5] }
"""


def test_the_faults_of_a_space_are_reported_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "space.toml").write_text(FAULTY)
    words = ["--recipe", "demo_miniature", "--data", "/nowhere", "--storage", str(tmp_path / "runs"), "--trials", "1"]
    monkeypatch.setattr(sys, "argv", ["tune.sweep", *words, "--space", str(tmp_path / "space.toml")])
    with pytest.raises(SpaceError) as raised:
        main()
    expected = (
        "optim.warmup_steps: randint = [5, 5] is empty",
        "text_tower.max_tokens is a grid, which --search random does not try completely",
        "loss.temperature_init = 1.5: input should be less than 1",
        "optim.lrr is not a field; did you mean lr?",
        "scale.workers cannot be varied",
    )
    assert len(raised.value.faults) == len(expected)
    assert all(fault.startswith(start) for fault, start in zip(raised.value.faults, expected, strict=True))
