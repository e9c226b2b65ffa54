"""Tests that an evaluation writes its report and its duration to the run's folder."""

import json
import warnings
from pathlib import Path

import pytest
from ray.util.annotations import RayDeprecationWarning
from rich.console import Console

from mulan.data.corpus.index import Corpus
from mulan.launch.evaluate_run import evaluate_run
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage.jsonl import JsonLinesLog
from mulan.tasks.joint import JointTask
from tests.evaluation.planted import training_lines

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_the_report_and_the_duration_are_written(
    tiny_corpus: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe("demo_miniature", data_uri=tiny_corpus)
    run = Run(str(tmp_path), "run")
    run.begin(recipe)
    JointTask(recipe).export(JointTask(recipe).build_model(), Path(run.model_uri))
    lines = training_lines(3)
    JsonLinesLog(run.metrics_uri).append(lines)
    with run.timed("train"):
        pass

    console = Console(record=True, width=120)
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RayDeprecationWarning)
        evaluation = evaluate_run(run, console, corpus=Corpus.open(recipe.data.uri))
    assert not capfd.readouterr().err  # nothing of Ray
    report = json.loads(Path(run.uri, "report.json").read_text())
    assert report["zero_shot"]["pitch"]["num_recordings"] == 8
    assert report["zero_shot"]["pitch"]["roc_auc"] == pytest.approx(evaluation.zero_shot["pitch"].roc_auc)
    assert {"map10", "recall10", "median_rank"} <= report["retrieval"].keys()
    assert 0 <= report["control"]["roc_auc"] <= 1
    assert report["seconds"]["evaluate"] > 0
    assert report["seconds"]["train"] == run.seconds()["train"]
    assert (report["training"]["steps"], report["training"]["loss"]) == (3, lines[-1]["loss"])
    page = Path(run.uri, "report.html").read_text()
    assert "very high" in page
    assert "report.html" in console.export_text()
