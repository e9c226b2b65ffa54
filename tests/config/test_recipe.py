import pytest

from mulan.config.errors import RecipeError
from mulan.config.recipe import differing_fields, recipe_from_toml
from mulan.recipes.registry import load_recipe, named_recipes


@pytest.mark.parametrize("name", sorted(named_recipes()))
def test_toml_round_trip(name: str) -> None:
    recipe = named_recipes()[name]
    assert recipe_from_toml(recipe.to_toml(), name=name) == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scale.workers=3", "scale.workers = 3 cannot share batch.micro_batches = 2; it must be one of 1, 2"),
        ("front_end.mel_max_hz=9000", "above half of data.sample_rate_hz"),
        ("data.window_s=0.1", "16 are required"),
        ("front_end.frequency_mask_bins=65", "above mel_channels"),
        ("data.source_ratio={short_form=0, long_form=0, playlist=0, audioset=0}", "at least one source"),
        ("trian.steps=3", "did you mean train?"),
        ("audio_tower.hidden_size=3", "audio_tower.hidden_size is not a field"),
        ("front_end.hop_ms=0.01", "front_end.hop_ms = 0.01 is less than one sample"),
        (
            "audio_tower={family='ast', patch_size=65}",
            "audio_tower.patch_size = 65 does not fit 64 mel channels by",
        ),
        ("train.zero_stage=4", "train.zero_stage = 4"),
        ("train.validation_micro_batches=3", "train.validation_micro_batches = 3"),
    ],
)
def test_an_error_names_the_field_and_the_remedy(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match="recipe demo") as caught:
        load_recipe("demo", [setting])
    assert message in str(caught.value)


def test_differing_fields_are_named_with_both_values() -> None:
    one = load_recipe("demo")
    other = load_recipe("demo", ["optim.lr=0.25", "audio_tower.family=ast"])
    differing = differing_fields(one, other)
    assert differing["optim.lr"] == (one.optim.lr, 0.25)
    assert differing["audio_tower.hidden_size"] == (None, 768)
    assert not [key for key in differing if not key.startswith(("optim.lr", "audio_tower."))]


def test_a_random_audio_tower_changes_only_the_pretrained_field() -> None:
    recipe = named_recipes()["m_ast"]
    assert differing_fields(recipe, recipe.with_random_audio_tower()) == {
        "audio_tower.pretrained": (recipe.audio_tower.pretrained, "")
    }
