"""Tests the checks of trackers before a job starts, and where each one says that it stores a run."""

import importlib.util
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import pytest

from mulan.config.errors import SeveralErrors
from mulan.runs.run import Run
from mulan.tracking import registry
from mulan.tracking.registry import check_trackers, tracker_lines
from mulan.tracking.tracker import TrackerError


def test_installed_and_configured_trackers_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    check_trackers(("tensorboard", "mlflow", "wandb"))
    check_trackers(())


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == "wandb" else importlib.util.find_spec(name)

    monkeypatch.setattr(registry, "find_spec", find)
    with pytest.raises(TrackerError) as refused:
        check_trackers(("tensorboard", "wandb"))
    expected = "logging.trackers names wandb, which is not installed; pip install 'mulan[trackers]'"
    assert (str(refused.value), refused.value.exit_code) == (expected, 2)


def test_a_folder_of_results_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(tmp_path)])

    (tmp_path / "wandb").mkdir()
    assert find("wandb") is not None
    monkeypatch.setattr(registry, "find_spec", find)
    with pytest.raises(TrackerError, match="wandb, which is not installed"):
        check_trackers(("wandb",))


def test_all_faults_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(
        registry, "find_spec", lambda name: ModuleSpec(name, None, origin=None if name == "wandb" else "x")
    )
    with pytest.raises(SeveralErrors, match=r"(?s)MLFLOW_TRACKING_URI is not set; set it.*names wandb, which"):
        check_trackers(("mlflow", "wandb"))


def test_variables_without_a_meaning_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    monkeypatch.setenv("WANDB_MODE", "bogus")
    with pytest.raises(SeveralErrors, match=r"(?s)mlflow, but MLFLOW_TRACKING_URI is 'nonsense.*wandb, but WANDB_MODE"):
        check_trackers(("mlflow", "wandb"))
    check_trackers(("tensorboard",))


def test_lines_say_where_a_run_is_and_show_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@mlflow.example")
    assert tracker_lines(("tensorboard", "mlflow", "wandb"), Run("/runs", "first")) == [
        "tracker tensorboard: tensorboard --logdir /runs/first/tensorboard",
        "tracker mlflow: https://***@mlflow.example, run first",
        "tracker wandb: run first; offline unless an API key is configured",
    ]
