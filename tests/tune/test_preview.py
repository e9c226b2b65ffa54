"""Tests the preview of a sweep by --dry-run."""

import json

import pytest

from mulan.launch.capacity import Capacity, Node
from mulan.runs.checkpoint import checkpoint_name
from mulan.storage import filesystem
from mulan.storage.jsonl import JsonLinesLog
from tests.tune.sweeps import options, plan_in
from tune.early_stopping import EarlyStopping
from tune.plan import SweepPlan
from tune.preview import describe_concurrency, preview
from tune.trial import Trial, planned_trials

CLUSTER = Capacity(tuple(Node(name, {"CPU": 6.0}, {}) for name in ("a", "b")))


@pytest.fixture
def plan(run_folder: str) -> SweepPlan:
    return plan_in(run_folder, settings=["train.steps=10", "scale.data_cpus=1"])


def lines(plan: SweepPlan, trials: list[Trial], concurrent: int | None = None) -> list[str]:
    return list(preview(plan, options(3, concurrent=concurrent, asha=EarlyStopping(5)), trials, CLUSTER))


def test_the_preview_of_a_new_sweep(plan: SweepPlan) -> None:
    trials = planned_trials(plan, 3)
    printed = lines(plan, trials)
    lr = plan.recipe.optim.lr
    assert printed[:5] == [
        "search space default, by random search",
        "  loss.temperature_init  0.02 to 0.5, log-uniform",
        f"  optim.lr  {lr / 10:g} to {lr * 10:g}, log-uniform",
        "compared by recall10 (higher is better); from step 5 on, ASHA stops trials that are not in the best 1/3",
        "3 trials, 0 of them completed; the next",
    ]
    assert printed[5] == "  trial_0000  the recipe's own values"
    assert printed[6] == "  trial_0001  " + " ".join(f"--set {setting}" for setting in trials[1].settings)
    assert printed[8:] == [
        "4 at once, each with at most 2 x (1 CPU) for workers and 1 CPU for readers; "
        "alive nodes: 2 with 6 CPU; there is no autoscaler",
        "at most 30 steps in total, 60 worker-steps",
        "CPU-hours are not known before a trial of this sweep has run",
    ]


def test_the_preview_of_a_partly_completed_sweep(plan: SweepPlan) -> None:
    trials = planned_trials(plan, 3)
    trials[0].end(4, train_steps=10)
    JsonLinesLog(trials[0].run.metrics_uri).append({"step": step, "step_s": 360.0} for step in range(1, 5))
    manifest = json.dumps({"files": {}, "score": 0.5}).encode()
    filesystem.write_atomically(f"{trials[1].run.uri}/{checkpoint_name(4)}/manifest.json", manifest)
    printed = lines(plan, trials, concurrent=2)
    assert printed[4] == "3 trials, 1 of them completed; the next"
    assert printed[7].startswith("2 at once, ")
    assert printed[8:] == [
        "at most 16 steps in total, 32 worker-steps",
        "at most 4.8 CPU-hours, and 0.8 hours if as many run all the time",
        "  at 360 s per step, as in this sweep's trials so far; starts and validations are extra",
    ]


def test_points_of_optuna_are_not_known_before(run_folder: str) -> None:
    plan = plan_in(run_folder, method="optuna", objectives=["recall10=max", "step_seconds=min"])
    printed = list(preview(plan, options(2), planned_trials(plan, 2), CLUSTER))
    assert printed[3:7] == [
        "compared by recall10 (higher is better) and step_seconds (lower is better); no trial is stopped early",
        "2 trials, 0 of them completed; the next",
        "  trial_0000  the recipe's own values",
        "  trial_0001  chosen when it begins",
    ]


def test_shares_of_a_gpu_are_described_and_their_hours_counted(run_folder: str) -> None:
    settings = ["train.steps=10", "scale.use_gpu=true", "scale.workers=1", "scale.gpus_per_worker=0.25"]
    plan = plan_in(run_folder, settings=settings)
    cluster = Capacity((Node("a", {"CPU": 16.0, "GPU": 2.0}, {}),))
    assert describe_concurrency(plan.recipe.scale, 8, cluster).startswith(
        "8 at once, each with at most 1 x (0.25 GPU and 1 CPU) for workers"
    )
    trials = planned_trials(plan, 1)
    JsonLinesLog(trials[0].run.metrics_uri).append([{"step": 1, "step_s": 3600.0}])
    printed = list(preview(plan, options(1), trials, cluster))
    assert "8 at once" in printed[-4]
    assert printed[-2].startswith("at most 2.5 GPU-hours, and 10 hours")
