"""Tests the preview of a sweep by --dry-run."""

import json

import pytest

from mulan.config.recipe import Recipe
from mulan.launch.capacity import Capacity, Node
from mulan.recipes.registry import load_recipe
from mulan.runs.checkpoint import checkpoint_name
from mulan.runs.run import Run
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog
from tune.planned import Trial, planned_trials, settings
from tune.preview import preview

CLUSTER = Capacity(tuple(Node(name, {"CPU": 6.0}, {}) for name in ("a", "b")))


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("demo_miniature", ["train.steps=10", "scale.data_cpus=1"])


def lines(recipe: Recipe, trials: list[Trial], concurrent: int | None = None) -> list[str]:
    return list(preview(recipe, trials, num_trials=3, concurrent=concurrent, cluster=CLUSTER))


def test_the_preview_of_a_new_sweep(recipe: Recipe, run_folder: str) -> None:
    trials = planned_trials(recipe, Run(run_folder, "s"), 3)
    printed = lines(recipe, trials)
    lr = recipe.optim.lr
    assert printed[:3] == [
        "search space",
        "  loss.temperature_init  0.02 to 0.5, log-uniform",
        f"  optim.lr  {lr / 10:g} to {lr * 10:g}, log-uniform",
    ]
    assert printed[3] == "3 trials, 0 of them completed; the next"
    words = " ".join(f"--set {setting}" for setting in settings(trials[0].values))
    assert printed[4] == f"  trial_0000  {words}"
    assert [line.split()[0] for line in printed[4:7]] == ["trial_0000", "trial_0001", "trial_0002"]
    assert printed[7:] == [
        "4 at once, each with at most 2 x (1 CPU) for workers and 1 CPU for readers; "
        "alive nodes: 2 with 6 CPU; there is no autoscaler",
        "at most 30 steps in total, 60 worker-steps",
        "CPU-hours are not known before a trial of this sweep has run",
    ]


def test_the_preview_of_a_partly_completed_sweep(recipe: Recipe, run_folder: str) -> None:
    trials = planned_trials(recipe, Run(run_folder, "s"), 3)
    trials[0].end(4, train_steps=10)
    JsonLinesLog(trials[0].run.metrics_uri).append({"step": step, "step_s": 360.0} for step in range(1, 5))
    manifest = json.dumps({"files": {}, "score": 0.5}).encode()
    filesystem.write_atomically(f"{trials[1].run.uri}/{checkpoint_name(4)}/manifest.json", manifest)
    printed = lines(recipe, trials, concurrent=2)
    assert printed[3] == "3 trials, 1 of them completed; the next"
    assert printed[6].startswith("2 at once, ")
    assert printed[7:] == [
        "at most 16 steps in total, 32 worker-steps",
        "at most 4.8 CPU-hours, and 0.8 hours if as many run all the time",
        "  at 360 s per step, as in this sweep's trials so far; starts and validations are extra",
    ]
