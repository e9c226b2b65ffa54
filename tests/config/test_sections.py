"""Tests that a section rejects values out of range and inconsistent fields, and names the field."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mulan.config.errors import RecipeError
from mulan.recipes.registry import load_recipe, named_recipes


def refused(recipe: str, *settings: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError, match=f"recipe {recipe}") as caught:
        load_recipe(recipe, settings)
    return caught.value.faults


@pytest.mark.parametrize(
    ("recipe", "setting", "message"),
    [
        ("semisupcon", "semisupcon.augmentation.gain_min_db=5.5", "gain_min_db must not be above gain_max_db"),
        (
            "semisupcon",
            "semisupcon.augmentation.noise_max_snr_db=2",
            "noise_min_snr_db must not be above noise_max_snr_db",
        ),
        (
            "semisupcon",
            "semisupcon.augmentation.noise_min_decay=3",
            "noise_min_decay must not be above noise_max_decay",
        ),
        ("semisupcon", "semisupcon.augmentation.delay_max_ms=99", "delay_min_ms must not be above delay_max_ms"),
        ("mulap", "mulap.fusion_heads=3", "fusion_size 1024 is not a multiple of fusion_heads 3"),
        ("mulap", "mulap.audio_heads=3", "audio_size 256 is not a multiple of audio_heads 3"),
        ("mulap", "audio_tower={family='ast', heads=5}", "hidden_size 768 is not a multiple of heads 5"),
        (
            "mulan_semi",
            "audio_tower.stage_depths=[1, 2]",
            "stage_channels has 4 stages and stage_depths 2",
        ),
    ],
)
def test_inconsistent_fields_of_a_section_are_rejected(recipe: str, setting: str, message: str) -> None:
    (fault,) = refused(recipe, setting)
    section, _, stated = fault.partition(": ")
    assert setting.startswith(section)
    assert stated == message


def test_all_ranges_of_a_section_are_checked() -> None:
    given = ("semisupcon.augmentation.gain_min_db=6", "semisupcon.augmentation.delay_min_ms=600")
    (fault,) = refused("semisupcon", *given)
    assert fault == (
        "semisupcon.augmentation: gain_min_db must not be above gain_max_db; delay_min_ms must not be above "
        "delay_max_ms"
    )


def test_a_field_without_a_default_is_named() -> None:
    assert refused("demo", "audio_tower.family=pretrained") == ("audio_tower.pretrained: field required",)


def numbers(section: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the paths of all fields that are a floating-point number."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            yield f"{prefix}{name}"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_number_of_a_recipe_may_be_infinite_or_nan(value: str) -> None:
    fields = list(numbers(named_recipes()["mulan_semi"].model_dump()))
    assert {"optim.lr", "front_end.mean", "semisupcon.augmentation.gain_min_db", "loss.bias_init"} <= set(fields)
    faults = refused("mulan_semi", *(f"{field}={value}" for field in fields))
    assert sorted(fault.partition(" = ")[0] for fault in faults) == sorted(fields)


@pytest.mark.parametrize(
    ("recipe", "setting", "message"),
    [
        ("semisupcon", "semisupcon.views=1", "semisupcon.views = 1: input should be greater than or equal to 2"),
        ("semisupcon", "semisupcon.temperature=0", "semisupcon.temperature = 0"),
        ("semisupcon", "semisupcon.labels_used=1.5", "semisupcon.labels_used = 1.5"),
        ("semisupcon", "semisupcon.min_shared_tags=0", "semisupcon.min_shared_tags = 0"),
        ("semisupcon", "semisupcon.weighting=cosine", "semisupcon.weighting = 'cosine': input should be 'equal' or"),
        ("semisupcon", "semisupcon.augmentation.probability=2", "semisupcon.augmentation.probability = 2"),
        ("semisupcon", "semisupcon.augmentation.delay_min_ms=0", "semisupcon.augmentation.delay_min_ms = 0"),
        ("semisupcon", "semisupcon.augmentation.delay_max_ms=60001", "semisupcon.augmentation.delay_max_ms = 60001"),
        ("semisupcon", "semisupcon.augmentation.gain_max_db=101", "semisupcon.augmentation.gain_max_db = 101"),
        ("semisupcon", "semisupcon.augmentation.noise_min_snr_db=-101", "semisupcon.augmentation.noise_min_snr_db ="),
        ("semisupcon", "semisupcon.augmentation.noise_max_decay=5", "semisupcon.augmentation.noise_max_decay = 5"),
        ("semisupcon", "semisupcon.augmentation.delay_echoes=[0, 101]", "input should be less than"),
        ("semisupcon", "semisupcon.augmentation.delay_echoes=[]", "semisupcon.augmentation.delay_echoes = []"),
        ("semisupcon", "semisupcon.augmentation.delay_volumes=[0.3, 1.5]", "semisupcon.augmentation.delay_volumes"),
        ("semisupcon", "semisupcon.augmentation.pitch_semitones=0", "semisupcon.augmentation.pitch_semitones = 0"),
        ("semisupcon", "semisupcon.augmentation.pitch_semitones=13", "semisupcon.augmentation.pitch_semitones = 13"),
        ("semisupcon", "semisupcon.label_share=1", "did you mean labelled_share?"),
        ("mulap", "mulap.token_mask_probability=-0.1", "mulap.token_mask_probability = -0.1"),
        ("mulap", "mulap.mismatch_probability=1.1", "mulap.mismatch_probability = 1.1"),
        ("mulap", "mulap.fusion_layers=0", "mulap.fusion_layers = 0"),
        ("mulap", "mulap.audio_layers=0", "mulap.audio_layers = 0"),
        ("mulap", "mulap.segment_s=0", "mulap.segment_s = 0"),
        ("mulap", "loss.weights.mam=-1", "loss.weights.mam = -1"),
        ("demo", "loss.bias_init=1001", "loss.bias_init = 1001: input should be less than or equal to 1000"),
        ("mulap", "loss.weights.map=1", "did you mean mam?"),
    ],
)
def test_values_out_of_range_are_rejected(recipe: str, setting: str, message: str) -> None:
    (fault,) = refused(recipe, setting)
    assert message in fault


@pytest.mark.parametrize("value", ["2", "as_foud"])
def test_an_invalid_labelled_share_gives_one_error(value: str) -> None:
    (fault,) = refused("semisupcon", f"semisupcon.labelled_share={value}")
    assert fault.startswith("semisupcon.labelled_share = ")
