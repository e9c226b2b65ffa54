"""Tests how jobs join the cluster."""

import pytest
import torch

from jobs import joining
from mulan.recipes.registry import load_recipe
from mulan.runs.checkpoint import write_checkpoint
from mulan.runs.run import Run
from mulan.training.state import Progress


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
