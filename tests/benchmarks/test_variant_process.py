"""Tests the training and evaluation of one variant: its scores are those of the jobs for the same recipe."""

from pathlib import Path

import pytest
import torch
from rich.console import Console

from mulan.benchmarks.variant_process import train_and_evaluate
from mulan.benchmarks.worker_group import Reading
from mulan.config.recipe import Recipe
from mulan.data.corpus.index import Corpus
from mulan.launch.evaluate_run import evaluate_run
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
    evaluation = evaluate_run(run, Console(quiet=True), corpus=Corpus.open(tiny_corpus))
    expected = {category: scores.roc_auc for category, scores in evaluation.zero_shot.items()}
    assert evaluation.retrieval is not None
    expected |= {"recall@10": evaluation.retrieval.recall10, "mAP@10": evaluation.retrieval.map10}
    assert reading(recipe, tmp_path) == expected
