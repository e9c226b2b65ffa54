"""Tests that named recipes equal their golden files, and that files and settings override their values."""

import itertools
import os
from pathlib import Path

import pytest

from mulan.config.audio import AstTowerConfig, ResNetTowerConfig
from mulan.config.errors import RecipeError
from mulan.config.recipe import Recipe
from mulan.config.sections import OptimConfig, TrainConfig
from mulan.recipes.registry import load_recipe, named_recipes, with_settings

GOLDEN = Path(__file__).parents[1] / "golden" / "recipes"


@pytest.mark.parametrize("name", sorted(named_recipes()))
def test_resolved_recipes_do_not_drift(name: str) -> None:
    """Golden files are rewritten with UPDATE_GOLDEN=1."""
    file, resolved = GOLDEN / f"{name}.toml", named_recipes()[name].to_toml()
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(resolved)
    assert resolved == file.read_text()


def test_settings_override_a_recipe() -> None:
    settings = [
        "optim.lr=0.01",
        "data.source_ratio.playlist=0",
        "train.precision=bf16",
        "audio_tower.stage_depths=[1, 2]",
    ]
    settings += ["audio_tower.stage_channels=[4, 8]", "scale.workers = 2"]
    recipe = load_recipe("demo", settings, data_uri="s3://bucket/corpus")
    assert recipe.optim.lr == 0.01
    assert recipe.data.source_ratio.playlist == 0
    assert recipe.train.precision == "bf16"
    assert isinstance(recipe.audio_tower, ResNetTowerConfig)
    assert recipe.audio_tower.stage_depths == (1, 2)
    assert recipe.data.uri == "s3://bucket/corpus"
    assert recipe.text_tower == named_recipes()["demo"].text_tower


def test_a_new_family_starts_from_its_defaults() -> None:
    recipe = load_recipe("demo", ["audio_tower.family=ast", "audio_tower.layers=2"])
    assert recipe.audio_tower == AstTowerConfig(layers=2)


@pytest.mark.parametrize(
    "settings",
    [
        ("audio_tower.layers=3", "audio_tower.family=ast", "audio_tower.patch_size=8"),
        ("audio_tower={family='ast', layers=3}", "audio_tower.patch_size=8"),
        ("audio_tower={layers=2, patch_size=8}", "audio_tower.layers=3", "audio_tower.family=ast"),
    ],
)
def test_the_order_of_settings_does_not_matter(settings: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[audio_tower]\nstem_channels = 8\n")
    for ordered in itertools.permutations(settings):
        for recipe in (load_recipe("demo", ordered), load_recipe(str(file), ordered)):
            assert recipe.audio_tower == AstTowerConfig(layers=3, patch_size=8)
        assert with_settings(load_recipe("demo"), ordered, name="mine") == load_recipe("demo", ordered)


def test_the_last_setting_of_a_field_is_applied() -> None:
    recipe = load_recipe(
        "demo", ["train.steps=3", "audio_tower.family=resnet", "audio_tower.family=ast", "train.steps=4"]
    )
    assert (recipe.train.steps, recipe.audio_tower) == (4, AstTowerConfig())


def test_the_family_of_a_file_that_names_none_is_the_default(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[audio_tower]\nstem_channels = 8\n")
    assert load_recipe(str(file), ["audio_tower.family=resnet"]) == load_recipe(str(file))


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ("train.steps.seed=5", "train.steps is not a section"),
        ("optim.lr.epsilon=1", "optim.lr is not a section"),
        ("embedding_dim.family=1", "embedding_dim is not a section"),
        ("scale.env.A.B=1", "scale.env.A is not a section"),
    ],
)
def test_a_setting_within_a_field_that_is_not_a_section_is_refused(setting: str, fault: str, tmp_path: Path) -> None:
    files = {"empty": "", "stated": "embedding_dim = 64\n[train]\nsteps = 3\n[optim]\nlr = 0.5\n[scale.env]\nA = '1'\n"}
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    for name in ("demo", *(str(tmp_path / f"{name}.toml") for name in files)):
        for settings in ([setting], [setting, "train.seed=1"], ["train.seed=1", setting]):
            with pytest.raises(RecipeError) as caught:
                load_recipe(name, settings)
            assert caught.value.faults == (fault,)


def test_a_file_with_another_value_for_a_section_is_refused_with_and_without_settings(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("train = 3\n")
    for settings in ([], ["train.steps=5"]):
        with pytest.raises(RecipeError) as caught:
            load_recipe(str(file), settings)
        assert caught.value.faults == ("train = 3: input should be a section",)
    assert load_recipe(str(file), ["train.steps=5", "train={seed=1}"]) == Recipe(train=TrainConfig(steps=5, seed=1))


def test_a_file_gives_only_what_differs_from_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("embedding_dim = 64\n[optim]\nlr = 0.5\n")
    recipe = load_recipe(str(file))
    assert recipe == Recipe(embedding_dim=64, optim=OptimConfig(lr=0.5))


def test_all_errors_are_listed() -> None:
    settings = [
        "optim.learning_rate=1",
        "optim.lr=-1",
        "loss.temperature_init=2",
        "batch.pairs_per_micro_batch=many",
        "x",
    ]
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", settings)
    message = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "optim.learning_rate is not a field" in message
    assert "valid here: beta1, beta2" in message
    assert "optim.lr = -1: input should be greater than 0" in message
    assert "loss.temperature_init = 2" in message
    assert "batch.pairs_per_micro_batch = 'many'" in message
    assert "--set x: must have the form section.field=value" in message


def test_unknown_names_and_unreadable_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"no such recipe; did you mean demo\? choose one of demo, m_ast, .*, and each of them with"
    ):
        load_recipe("dmeo")
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        load_recipe(str(tmp_path / "absent.toml"))
    (tmp_path / "broken.toml").write_text("= 3")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(str(tmp_path / "broken.toml"))
