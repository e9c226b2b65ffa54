"""Tests a miniature of the demo, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mulan.search.manifest import IndexManifest
from mulan.search.table import RecordingTable

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


@pytest.mark.long(group="jobs")
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
    assert {"accuracy"} <= report["triplets"]["recordings"].keys()
    assert {"genre", "instrument", "mood", "tempo"} <= report["probes"].keys()
    assert report["retrieval"]["captions"]
    assert {"corpus", "train", "search"} <= report["training"]["seconds"].keys()
    index = tmp_path / "demo" / "search" / "index"
    assert output.index("index  40 added; 40 recordings") < output.index("Zero-shot tagging")
    assert output.splitlines()[-1] == f"search: python -m jobs.serve --index {index}"
    assert f"python -m jobs.serve --index {index}" in (tmp_path / "demo" / "report.html").read_text()
    assert RecordingTable.open(str(index)).has_windows
    assert report["seconds"]["demo"] > 0
    metrics = (tmp_path / "demo" / "metrics.jsonl").read_text()
    checkpoints = sorted(path.name for path in (tmp_path / "demo").glob("checkpoint_0*"))
    manifest = index / "index.json"
    model = report["models"][0]["sha256"]
    manifest.write_text(manifest.read_text().replace(model, "0" * 64))  # of a model that was trained for fewer steps

    again = run_demo(tmp_path)
    assert "corpus  already there" in again
    assert "embed  already there" in again
    assert "index  40 added; 40 recordings" in again
    assert IndexManifest.read(str(index)).model.sha256 == model
    assert (tmp_path / "demo" / "metrics.jsonl").read_text() == metrics
    assert sorted(path.name for path in (tmp_path / "demo").glob("checkpoint_0*")) == checkpoints
