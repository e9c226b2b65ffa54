"""Tests the comparison of variants: trained runs are read instead of trained again, and the table has their scores."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks.measure import BenchmarkRefused
from mulan.benchmarks.variants import bench_variants, variants
from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe, with_settings
from mulan.runs.run import Run, RunError
from mulan.storage import filesystem

FIRST, SECOND = "recipe", "text at [CLS]"


def plant(storage_uri: str, recipe: Recipe, variant: str, seed: int, *, roc_auc: float) -> Run:
    """Writes what a run leaves that was trained and evaluated."""
    run = Run.at(storage_uri, f"{variant.translate(dict.fromkeys(map(ord, ' []'), '_'))}-{seed}")
    run.begin(with_settings(recipe, (*variants(recipe)[variant], f"train.seed={seed}"), name=variant))
    report = {
        "zero_shot": {"genre": {"roc_auc": roc_auc}, "tempo": {"roc_auc": 0.5}},
        "retrieval": {"recall10": 0.8, "map10": 0.4},
    }
    filesystem.write_atomically(filesystem.join(run.uri, "report.json"), json.dumps(report).encode())
    filesystem.write_atomically(filesystem.join(run.uri, "seconds.json"), json.dumps({"train": 300.0 + seed}).encode())
    return run


def test_every_variant_is_a_valid_recipe_of_its_own() -> None:
    demo = load_recipe("demo")
    recipes = [with_settings(demo, settings, name=name) for name, settings in variants(demo).items()]
    assert recipes[0] == demo
    assert len({recipe.to_toml() for recipe in recipes}) == len(recipes)


@pytest.mark.parametrize("name", ["half the batch", "twice the batch"])
def test_variants_of_the_batch_see_the_same_pairs(name: str) -> None:
    demo = load_recipe("demo")
    varied = with_settings(demo, variants(demo)[name], name=name)
    assert varied.batch.pairs != demo.batch.pairs
    assert varied.train.steps * varied.batch.pairs == demo.train.steps * demo.batch.pairs


def test_trained_runs_are_read(run_folder: str) -> None:
    demo, lines = load_recipe("demo"), list[str]()
    for variant, roc_auc in ((FIRST, 0.9), (SECOND, 0.7)):
        for seed in range(2):
            plant(run_folder, demo, variant, seed, roc_auc=roc_auc + seed / 100)
    report = bench_variants(demo, run_folder, names=[FIRST, SECOND], rounds=2, progress=lines.append)
    assert [row.name for row in report.rows] == [FIRST, SECOND]
    assert len(lines) == 4
    first, second = (row.figures for row in report.rows)
    assert list(first) == ["genre", "tempo", "recall@10", "mAP@10", "training"]
    assert first["genre"].values == (0.9, 0.91)
    assert second["genre"].values == pytest.approx((0.7, 0.71))
    assert first["training"].values == (300.0, 301.0)


def test_a_run_of_another_recipe_is_not_read(run_folder: str) -> None:
    demo = load_recipe("demo")
    plant(run_folder, demo, FIRST, 0, roc_auc=0.9)
    longer = demo.replace({"optim.lr": 1e-5})
    with pytest.raises(RunError, match=r"optim\.lr"):
        bench_variants(longer, run_folder, names=[FIRST], rounds=1, progress=lambda _: None)


def test_unknown_names_are_refused(run_folder: str) -> None:
    with pytest.raises(BenchmarkRefused, match="--only nothing: choose from "):
        bench_variants(load_recipe("demo"), run_folder, names=["nothing"], rounds=1, progress=lambda _: None)
    assert not Path(run_folder).exists()


@pytest.mark.long(group="whole")
@pytest.mark.processes
@pytest.mark.usefixtures("ray_cluster")
def test_a_variant_is_trained_exported_and_evaluated(tiny_corpus: str, run_folder: str) -> None:
    miniature = load_recipe("demo_miniature", data_uri=tiny_corpus)
    report = bench_variants(miniature, run_folder, names=[FIRST], rounds=1, progress=lambda _: None)
    (row,) = report.rows
    assert 0 <= row.figures["genre"].median <= 1
    assert row.figures["training"].median > 0
    assert Run.at(run_folder, f"{FIRST}-0").metrics()[-1]["step"] == miniature.train.steps
