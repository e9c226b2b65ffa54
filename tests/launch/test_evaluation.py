"""Tests that the evaluation of a run writes its report, with its training, to its folder."""

import json
import warnings
from pathlib import Path

import pytest
from ray.util.annotations import RayDeprecationWarning
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mulan.config.errors import SeveralErrors
from mulan.evaluation.options import EvaluationOptions, SilentObserver
from mulan.evaluation.tasks.request import task_requests
from mulan.launch.evaluation import EvaluationRequest, check_models, evaluate_and_report
from mulan.model.inference.files import ModelFolderError
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog
from mulan.tasks.joint import JointTask
from tests.evaluation.report.training_lines import training_lines


@pytest.fixture
def request_of_run(tiny_corpus: str, tmp_path: Path) -> EvaluationRequest:
    recipe = load_recipe("demo_miniature", ['logging.trackers=["tensorboard"]'], data_uri=tiny_corpus)
    run = Run(str(tmp_path), "run")
    run.begin(recipe)
    JointTask(recipe).export(JointTask(recipe).build_model(), Path(run.model_uri))
    JsonLinesLog(run.metrics_uri).append(training_lines(3))
    with run.timed("train"):
        pass
    filesystem.write_atomically(f"{run.search_index_uri}/index.json", b"{}")
    tasks = task_requests(["tags", "captions"], default_corpus=tiny_corpus)
    return EvaluationRequest({"run": f"exported={run.model_uri}"}, tasks, EvaluationOptions(run.uri), run=run)


@pytest.mark.usefixtures("ray_cluster")
def test_the_report_has_scores_and_the_training(
    request_of_run: EvaluationRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    run, console = request_of_run.run, Console(record=True, width=120)
    assert run is not None
    check_models(request_of_run.models.values())
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RayDeprecationWarning)
        summary = evaluate_and_report(request_of_run, console, SilentObserver())
    assert not capfd.readouterr().err  # nothing of Ray
    report = json.loads(Path(run.uri, "report.json").read_text())
    assert report == summary
    assert report["zero_shot"]["pitch"]["counts"]["recordings"] == 8
    assert {"map10", "recall10", "median_rank"} <= next(iter(report["retrieval"]["captions"].values())).keys()
    assert report["training"]["seconds"]["train"] == run.seconds()["train"]
    assert (report["training"]["steps"], report["training"]["loss"]) == (3, training_lines(3)[-1]["loss"])
    page = Path(run.uri, "report.html").read_text()
    assert "very high" in page
    assert "Training loss" in page
    assert f"python -m jobs.serve --index {run.search_index_uri}" in page
    printed = console.export_text()
    assert "report.html" in printed
    assert '"A steady' in printed, "an example of a query"
    tracked = EventAccumulator(f"{run.uri}/tensorboard").Reload()
    (score,) = tracked.Scalars("evaluation/zero_shot/pitch/roc_auc")
    assert (score.step, score.value) == (0, pytest.approx(report["zero_shot"]["pitch"]["roc_auc"], abs=1e-6))
    assert tracked.Tags()["images"] == ["evaluation/map_1"]
    assert "evaluation/scores/text_summary" in tracked.Tags()["tensors"]


def test_all_damaged_models_are_found_before_anything_is_embedded(request_of_run: EvaluationRequest) -> None:
    check_models(request_of_run.models.values())
    assert request_of_run.run is not None
    Path(request_of_run.run.model_uri, "config.json").write_text("{}")
    with pytest.raises(ModelFolderError, match=r"config\.json"):
        check_models(request_of_run.models.values())
    with pytest.raises(SeveralErrors, match=r"(?s)config\.json.*there is no such folder"):
        check_models([*request_of_run.models.values(), "/nowhere/model"])
