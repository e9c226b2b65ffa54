"""Tests the comparison of variants: kept readings are read instead of taken again, and the table has their scores."""

import json
from pathlib import Path

import pytest

from mulan.benchmarks.measure import BenchmarkRefused
from mulan.benchmarks.variants import bench_variants, variants
from mulan.config.recipe import Recipe, recipe_from_toml
from mulan.recipes.registry import load_recipe, with_settings

FIRST, SECOND = "recipe", "text at [CLS]"


def plant(folder: Path, recipe: Recipe, variant: str, seed: int, *, roc_auc: float) -> None:
    """Writes what is kept of a variant that was trained and evaluated."""
    varied = with_settings(recipe, (*variants(recipe)[variant], f"train.seed={seed}"), name=variant)
    kept = {
        "recipe": varied.to_toml(),
        "scores": {"genre": roc_auc, "tempo": 0.5, "recall@10": 0.8, "mAP@10": 0.4},
    }
    folder.mkdir(exist_ok=True)
    Path(folder, f"{variant.translate(dict.fromkeys(map(ord, ' []'), '_'))}-{seed}.json").write_text(json.dumps(kept))


def test_every_variant_is_a_valid_recipe_of_its_own() -> None:
    demo = load_recipe("demo")
    recipes = [with_settings(demo, settings, name=name) for name, settings in variants(demo).items()]
    assert recipes[0] == demo
    assert len({recipe.to_toml() for recipe in recipes}) == len(recipes)


def test_kept_readings_are_read(tmp_path: Path) -> None:
    demo, lines = load_recipe("demo"), list[str]()
    for variant, roc_auc in ((FIRST, 0.9), (SECOND, 0.7)):
        for seed in range(2):
            plant(tmp_path, demo, variant, seed, roc_auc=roc_auc + seed / 100)
    report = bench_variants(demo, str(tmp_path), names=[FIRST, SECOND], rounds=2, progress=lines.append)
    assert [row.name for row in report.rows] == [FIRST, SECOND]
    assert len(lines) == 4
    first, second = (row.figures for row in report.rows)
    assert list(first) == ["genre", "tempo", "recall@10", "mAP@10"]
    assert first["genre"].values == (0.9, 0.91)
    assert second["genre"].values == pytest.approx((0.7, 0.71))
    assert recipe_from_toml(report.recipe_toml, name="measured") == demo


def test_readings_do_not_depend_on_where_the_corpus_is_and_who_trains(tmp_path: Path) -> None:
    demo = load_recipe("demo")
    plant(tmp_path, demo, FIRST, 0, roc_auc=0.9)
    moved = demo.replace({"data.uri": "/elsewhere", "scale.workers": 1, "train.validate_every_steps": 7})
    (row,) = bench_variants(moved, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None).rows
    assert row.figures["genre"].values == (0.9,)


def test_readings_of_another_recipe_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    demo = load_recipe("demo")
    plant(tmp_path, demo, FIRST, 0, roc_auc=0.9)
    other = demo.replace({"optim.lr": 1e-5})
    with pytest.raises(BenchmarkRefused, match=r"recipe-0\.json is of a recipe with another optim\.lr; give another "):
        bench_variants(other, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None)
    Path(tmp_path, "recipe-0.json").write_text("{}")
    with pytest.raises(BenchmarkRefused, match=r"recipe-0\.json is damaged; remove it"):
        bench_variants(demo, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkRefused, match="--only nothing: choose from "):
        bench_variants(load_recipe("demo"), str(tmp_path / "new"), names=["nothing"], rounds=1, progress=lambda _: None)
    assert not Path(tmp_path, "new").exists()


def test_a_recipe_of_another_kind_is_refused_with_all_reasons(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkRefused) as refused:
        bench_variants(load_recipe("semisupcon"), str(tmp_path), names=[], rounds=1, progress=lambda _: None)
    for field in ("loss.weights.contrastive", "optim.schedule"):
        assert field in str(refused.value)
    shorter = load_recipe("demo", ["train.steps=100"])
    with pytest.raises(BenchmarkRefused, match=r"optim\.decay_until_step the same as train\.steps = 100"):
        bench_variants(shorter, str(tmp_path), names=[], rounds=1, progress=lambda _: None)


def test_a_corpus_without_a_test_split_is_refused(tiny_corpus_with_unfiltered_texts: str, tmp_path: Path) -> None:
    demo = load_recipe("demo", data_uri=tiny_corpus_with_unfiltered_texts)
    with pytest.raises(BenchmarkRefused, match="no recordings in the split 'test'"):
        bench_variants(demo, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None)


@pytest.mark.long(group="layouts")
@pytest.mark.processes
def test_a_reading_is_taken_and_kept(tiny_corpus: str, tmp_path: Path) -> None:
    settings = ["optim.schedule=linear", "optim.decay_until_step=8", "train.steps=8"]
    miniature = load_recipe("demo_miniature", settings, data_uri=tiny_corpus)
    (taken,) = bench_variants(miniature, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None).rows
    (kept,) = bench_variants(miniature, str(tmp_path), names=[FIRST], rounds=1, progress=lambda _: None).rows
    assert taken == kept
    assert 0 <= taken.figures["pitch"].median <= 1
