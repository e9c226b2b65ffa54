"""Tests the benchmark of the step in small, up to Ray Train."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks.steps import ENGINES, bench_step, flops_of_a_pair
from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe


def miniature(name: str, *settings: str, uri: str | None = None) -> Recipe:
    return load_recipe(f"{name}_miniature", settings, data_uri=uri)


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_the_report_has_every_measurement(tmp_path: Path) -> None:
    lines: list[str] = []
    recipe = miniature("m_resnet50_audioset")
    report = bench_step(recipe, engine="torch", rounds=2, steps=2, tokens=0, progress=lines.append)
    assert [row.name for row in report.rows] == ["bare", "bare_kept", "torch"]
    assert all(len(row.figures["step"].values) == 2 for row in report.rows)
    assert report.rows[0].figures["/ bare"].values == (1.0, 1.0)
    (goal,) = report.goals
    assert goal.measured == report.rows[2].figures["/ bare"].median
    assert len(lines) == 6
    report.write(tmp_path / "step.json", command="")
    assert json.loads((tmp_path / "step.json").read_text())["settings"]["pairs"] == 16


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_all_engines_are_measured_up_to_ray(tiny_corpus: str) -> None:
    recipe = miniature("demo", uri=tiny_corpus)
    report = bench_step(recipe, engine=ENGINES[-1], rounds=1, steps=3, tokens=0, progress=lambda _: None)
    assert [row.name for row in report.rows] == list(ENGINES)
    assert report.rows[-1].figures["step"].median > 0


def test_operations_of_a_pair_are_proportional_to_the_window() -> None:
    short = miniature("m_resnet50_audioset")
    long = short.replace({"data.window_s": 2.0})
    assert flops_of_a_pair(long, tokens=0) / flops_of_a_pair(short, tokens=0) == pytest.approx(2, rel=0.15)


def test_operations_of_a_pair_are_those_of_a_text_of_this_length() -> None:
    recipe = miniature("demo")
    none, half, full = (flops_of_a_pair(recipe, tokens=tokens) for tokens in (1, 8, 16))
    assert (full - half) / (half - none) == pytest.approx(8 / 7, rel=0.02)
