"""Tests how jobs join the cluster."""

import pytest
import torch

from jobs import joining
from mulan.config.recipe import recipe_from_toml
from mulan.recipes.registry import load_recipe
from mulan.runs.run import Run
from mulan.training.state import Progress
from tests.checkpoints import write_checkpoint


def test_a_dry_run_starts_no_ray_and_a_finished_run_is_not_checked(
    monkeypatch: pytest.MonkeyPatch, run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    joined: list[object] = []
    monkeypatch.setattr(joining, "connect", joined.append)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    recipe = load_recipe("demo_miniature", ["data.uri=/corpus", "train.steps=3"])
    run = Run.at(run_folder, "a")
    joining.print_dry_run(recipe, run)
    assert joined == []
    assert capsys.readouterr().out == recipe.to_toml()
    write_checkpoint(run.uri, {"weights.a": torch.ones(1)}, Progress(3))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    joining.print_dry_run(recipe, run)
    assert capsys.readouterr().out == recipe.to_toml()
    joining.join_and_report(recipe, run, label="train")
    assert capsys.readouterr().out == ""
    assert joining.join(recipe, run) == []
    assert len(joined) == 3


def test_a_dry_run_warns_that_a_tower_is_not_pretrained_in_a_comment(
    monkeypatch: pytest.MonkeyPatch, run_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    recipe, run = load_recipe("m_resnet50", data_uri="/corpus"), Run.at(run_folder, "a")
    joining.print_dry_run(recipe, run)
    printed = capsys.readouterr().out
    (comment,) = (line for line in printed.splitlines() if line.startswith("#"))
    assert comment.startswith("# the audio tower starts from random weights")
    assert recipe_from_toml(printed, name="printed") == recipe
