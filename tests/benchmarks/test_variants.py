"""Tests the comparison of variants: kept readings are read instead of taken again, and the table has their scores."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks.measure import BenchmarkRefused
from mulan.benchmarks.variants import bench_variants, variants
from mulan.config.errors import RecipeError
from mulan.config.recipe import Recipe
from mulan.recipes.registry import load_recipe, with_settings

FIRST, SECOND = "recipe", "text at [CLS]"


def plant(folder: Path, recipe: Recipe, variant: str, seed: int, *, roc_auc: float) -> None:
    """Writes what is kept of a variant that was trained and evaluated."""
    varied = with_settings(recipe, (*variants(recipe)[variant], f"train.seed={seed}"), name=variant)
    kept = {
        "recipe": varied.to_toml(),
        "reading": {"genre": roc_auc, "tempo": 0.5, "recall@10": 0.8, "mAP@10": 0.4, "training": 300.0 + seed},
    }
    folder.mkdir(exist_ok=True)
    Path(folder, f"{variant.translate(dict.fromkeys(map(ord, ' []'), '_'))}-{seed}.json").write_text(json.dumps(kept))


def test_every_variant_is_a_valid_recipe_of_its_own() -> None:
    demo = load_recipe("demo")
    recipes = [with_settings(demo, settings, name=name) for name, settings in variants(demo).items()]
    assert recipes[0] == demo
    assert len({recipe.to_toml() for recipe in recipes}) == len(recipes)


def test_half_the_batch_sees_the_same_pairs() -> None:
    demo = load_recipe("demo")
    varied = with_settings(demo, variants(demo)["half the batch, twice the steps"], name="half")
    assert varied.batch.pairs == demo.batch.pairs / 2
    assert varied.train.steps * varied.batch.pairs == demo.train.steps * demo.batch.pairs


def test_kept_readings_are_read(tmp_path: Path) -> None:
    demo, lines = load_recipe("demo"), list[str]()
    for variant, roc_auc in ((FIRST, 0.9), (SECOND, 0.7)):
        for seed in range(2):
            plant(tmp_path, demo, variant, seed, roc_auc=roc_auc + seed / 100)
    report = bench_variants(demo, str(tmp_path), names=[FIRST, SECOND], rounds=2, progress=lines.append)
    assert [row.name for row in report.rows] == [FIRST, SECOND]
    assert len(lines) == 4
    first, second = (row.figures for row in report.rows)
    assert list(first) == ["genre", "tempo", "recall@10", "mAP@10", "training"]
    assert first["genre"].values == (0.9, 0.91)
    assert second["genre"].values == pytest.approx((0.7, 0.71))
    assert first["training"].values == (300.0, 301.0)


def test_a_reading_of_another_recipe_is_refused(tmp_path: Path) -> None:
    demo = load_recipe("demo")
    plant(tmp_path, demo, FIRST, 0, roc_auc=0.9)
    other = demo.replace({"optim.lr": 1e-5})
    with pytest.raises(BenchmarkRefused, match="is a reading of another recipe"):
        bench_variants(other, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkRefused, match="--only nothing: choose from "):
        bench_variants(load_recipe("demo"), str(tmp_path / "new"), names=["nothing"], rounds=1, progress=lambda _: None)
    assert not Path(tmp_path, "new").exists()


def test_recipes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkRefused, match="no contrastive term"):
        bench_variants(load_recipe("semisupcon"), str(tmp_path), names=[], rounds=1, progress=lambda _: None)
    with pytest.raises(RecipeError, match=r"text_tower\.frozen_layers = -1"):
        bench_variants(load_recipe("m_ast"), str(tmp_path), names=[], rounds=1, progress=lambda _: None)


@pytest.mark.long(group="whole")
@pytest.mark.processes
def test_a_reading_is_taken_and_kept(tiny_corpus: str, tmp_path: Path) -> None:
    miniature = load_recipe("demo_miniature", ["train.steps=1"], data_uri=tiny_corpus)
    (taken,) = bench_variants(miniature, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None).rows
    (kept,) = bench_variants(miniature, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None).rows
    assert taken == kept
    assert 0 <= taken.figures["pitch"].median <= 1
