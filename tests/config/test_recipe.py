import os
from pathlib import Path

import pytest

from mulan.config.audio import AstTowerConfig, ResNetTowerConfig
from mulan.config.errors import RecipeError
from mulan.config.recipe import Recipe, differing_fields, recipe_from_toml
from mulan.recipes.registry import load_recipe, named_recipes

GOLDEN = Path(__file__).parents[1] / "golden" / "recipes"


@pytest.mark.parametrize("name", sorted(named_recipes()))
def test_resolved_recipes_do_not_drift(name: str) -> None:
    """The golden files change only on purpose: UPDATE_GOLDEN=1 rewrites them."""
    file, resolved = GOLDEN / f"{name}.toml", named_recipes()[name].to_toml()
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(resolved)
    assert resolved == file.read_text()


@pytest.mark.parametrize("name", sorted(named_recipes()))
def test_toml_round_trip(name: str) -> None:
    recipe = named_recipes()[name]
    assert recipe_from_toml(recipe.to_toml(), name=name) == recipe


def test_settings_are_laid_over_a_recipe() -> None:
    settings = [
        "optim.lr=0.01",
        "data.source_ratio.playlist=0",
        "train.precision=bf16",
        "audio_tower.stage_depths=[1, 2]",
    ]
    settings += ["audio_tower.stage_channels=[4, 8]", "scale.workers = 2"]
    recipe = load_recipe("demo", named_recipes(), settings, data_uri="s3://bucket/corpus")
    assert recipe.optim.lr == 0.01
    assert recipe.data.source_ratio.playlist == 0
    assert recipe.train.precision == "bf16"
    assert isinstance(recipe.audio_tower, ResNetTowerConfig)
    assert recipe.audio_tower.stage_depths == (1, 2)
    assert recipe.data.uri == "s3://bucket/corpus"
    assert recipe.text_tower == named_recipes()["demo"].text_tower


def test_another_family_starts_from_its_own_defaults() -> None:
    recipe = load_recipe("demo", named_recipes(), ["audio_tower.family=ast", "audio_tower.layers=2"])
    assert recipe.audio_tower == AstTowerConfig(layers=2)


def test_a_file_says_only_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("embedding_dim = 64\n[optim]\nlr = 0.5\n")
    recipe = load_recipe(str(file), named_recipes())
    assert recipe == Recipe(embedding_dim=64, optim=Recipe().optim.model_copy(update={"lr": 0.5}))


def test_all_faults_are_listed_at_once() -> None:
    settings = [
        "optim.learning_rate=1",
        "optim.lr=-1",
        "loss.temperature_init=2",
        "batch.pairs_per_micro_batch=many",
        "x",
    ]
    with pytest.raises(RecipeError) as caught:
        load_recipe("demo", named_recipes(), settings)
    message = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "optim.learning_rate is not a field" in message
    assert "valid here: beta1, beta2" in message
    assert "optim.lr = -1: input should be greater than 0" in message
    assert "loss.temperature_init = 2" in message
    assert "batch.pairs_per_micro_batch = 'many'" in message
    assert "--set x: write it as section.field=value" in message


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("scale.workers=3", "scale.workers = 3 cannot share batch.micro_batches = 2; it must be one of 1, 2"),
        ("front_end.mel_max_hz=9000", "above half of data.sample_rate_hz"),
        ("data.window_s=0.1", "16 are needed"),
        ("front_end.frequency_mask_bins=65", "above mel_channels"),
        ("data.source_ratio={short_form=0, long_form=0, playlist=0, audioset=0}", "at least one source"),
        ("trian.steps=3", "did you mean train?"),
        ("audio_tower.hidden_size=3", "audio_tower.hidden_size is not a field"),
        ("front_end.hop_ms=0.01", "front_end.hop_ms = 0.01 is less than a sample"),
        (
            "audio_tower={family='ast', patch_size=65}",
            "audio_tower.patch_size = 65 does not fit 64 mel channels by",
        ),
        ("train.zero_stage=4", "train.zero_stage = 4"),
        ("train.validation_micro_batches=3", "train.validation_micro_batches = 3"),
    ],
)
def test_a_fault_names_the_field_and_the_remedy(setting: str, said: str) -> None:
    with pytest.raises(RecipeError, match="recipe demo") as caught:
        load_recipe("demo", named_recipes(), [setting])
    assert said in str(caught.value)


@pytest.mark.parametrize(("name", "pairs"), [("m_resnet50", 6144), ("m_ast", 5120), ("mulan_semi", 6144)])
@pytest.mark.parametrize("workers", [8, 16, 32, 64, 128])
def test_the_paper_s_batches_are_shared_by_the_usual_numbers_of_gpus(name: str, pairs: int, workers: int) -> None:
    recipe = load_recipe(name, named_recipes(), [f"scale.workers={workers}"])
    assert recipe.batch.pairs == pairs


def test_unknown_names_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"no such recipe; did you mean demo\? there are demo, m_ast, .*, and each with"
    ):
        load_recipe("dmeo", named_recipes())
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        load_recipe(str(tmp_path / "absent.toml"), named_recipes())
    (tmp_path / "broken.toml").write_text("= 3")
    with pytest.raises(RecipeError, match="is not TOML"):
        load_recipe(str(tmp_path / "broken.toml"), named_recipes())


def test_differing_fields_are_named_with_both_values() -> None:
    one = load_recipe("demo", named_recipes())
    other = load_recipe("demo", named_recipes(), ["optim.lr=0.25", "audio_tower.family=ast"])
    differing = differing_fields(one, other)
    assert differing["optim.lr"] == (one.optim.lr, 0.25)
    assert differing["audio_tower.hidden_size"] == (None, 768)
    assert not [key for key in differing if not key.startswith(("optim.lr", "audio_tower."))]
