"""Tests a miniature of the demo, as a user runs it."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from jobs.demo import CorpusProgress

FORBIDDEN_IN_OUTPUT = ("Warning", "WARNING", "Traceback", "INFO")


def run_demo(folder: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "jobs.demo",
        "--recipe",
        "demo_miniature",
        "--tracks",
        "40",
        "--storage",
        str(folder),
    ]
    # with as many threads as the job of a user
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout + done.stderr
    assert not [word for word in FORBIDDEN_IN_OUTPUT if word in output], output
    return output


@pytest.mark.long(group="whole")
@pytest.mark.processes
def test_the_miniature_demo_runs_to_its_report(tmp_path: Path) -> None:
    output = run_demo(tmp_path)
    assert "corpus  40/40 recordings" in output
    assert "train  step 6/6" in output
    assert "loss" in output
    assert "pairs/s" in output
    assert str(tmp_path / "demo" / "report.html") in output
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert {"genre", "instrument", "mood", "tempo"} <= report["zero_shot"].keys()
    assert {"corpus", "train", "evaluate"} <= report["seconds"].keys()
    metrics = (tmp_path / "demo" / "metrics.jsonl").read_text()
    checkpoints = sorted(path.name for path in (tmp_path / "demo").glob("checkpoint_0*"))

    again = run_demo(tmp_path)
    assert "corpus  already there" in again
    assert (tmp_path / "demo" / "metrics.jsonl").read_text() == metrics
    assert sorted(path.name for path in (tmp_path / "demo").glob("checkpoint_0*")) == checkpoints


@pytest.mark.processes
def test_a_recipe_without_a_text_tower_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "jobs.demo", "--recipe", "semisupcon", "--storage", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --recipe semisupcon has no contrastive term")
    assert "jobs.train --data" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_progress_is_printed_in_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 10.0, 15.0, 20.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    with CorpusProgress(Console(file=stream)) as progress:
        for done in (4, 10, 15, 120):
            progress(done, 120)
    assert stream.getvalue().splitlines() == [
        "corpus  10/120 recordings  1:50 left",  # ten seconds after the start
        "corpus  120/120 recordings  0:00 left",  # the last one is always printed
    ]


def test_an_existing_corpus_has_no_progress() -> None:
    stream = io.StringIO()
    with CorpusProgress(Console(file=stream)):
        pass
    assert stream.getvalue() == "corpus  already there\n"
