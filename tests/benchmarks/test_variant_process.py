"""Tests the training and evaluation of one variant: its scores are those of the jobs for the same recipe."""

from pathlib import Path

import pytest
import torch

from mulan.benchmarks.variant_process import train_and_evaluate
from mulan.benchmarks.worker_group import Reading
from mulan.config.recipe import Recipe
from mulan.evaluation.evaluation import evaluate
from mulan.evaluation.options import EvaluationOptions
from mulan.evaluation.tasks.request import task_requests
from mulan.launch.fit import fit
from mulan.recipes.registry import load_recipe
from mulan.runs.export import export_run
from mulan.runs.run import Run
from tests.processes import run_in_processes


def reading(recipe: Recipe, folder: Path) -> Reading:
    first, second = run_in_processes(train_and_evaluate, 2, recipe, "test", torch.device("cpu"), folder=folder)
    assert not second
    result: Reading = first
    return result


@pytest.mark.processes
def test_a_variant_is_trained_and_evaluated(tiny_corpus: str, tmp_path: Path) -> None:
    recipe = load_recipe("demo_miniature", ["train.steps=2"], data_uri=tiny_corpus)
    result = reading(recipe, tmp_path)
    assert list(result) == ["genre", "pitch", "recall@10", "mAP@10"]
    assert all(0 <= score <= 1 for score in result.values())


@pytest.mark.long(group="layouts")
@pytest.mark.processes
@pytest.mark.usefixtures("ray_cluster")
def test_the_scores_are_those_of_a_run_with_two_workers(tiny_corpus: str, tmp_path: Path) -> None:
    recipe = load_recipe("demo_miniature", ["optim.ema_decay=0.5"], data_uri=tiny_corpus)
    run = Run.at(str(tmp_path), "run")
    fit(recipe, run)
    export_run(run)
    options = EvaluationOptions(str(tmp_path / "report"), max_skipped_share=recipe.data.max_skipped_share)
    requests = task_requests(["tags", "captions"], default_corpus=tiny_corpus)
    found = evaluate({"run": run.model_uri}, requests, options).scores["run"]
    expected = {each.name: each.scores["roc_auc"] for each in found if each.section == "zero_shot"}
    (captions,) = (each for each in found if (each.section, each.name) == ("retrieval.captions", "long_form"))
    expected |= {"recall@10": captions.scores["recall10"], "mAP@10": captions.scores["map10"]}
    assert reading(recipe, tmp_path) == expected
