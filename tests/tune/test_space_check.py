"""Tests that a space that does not go with its recipe is refused before anything starts, with all faults."""

import pytest

from mulan.recipes.registry import load_recipe
from tune.space import Space, SpaceError, space_from_toml
from tune.space_check import NOT_VARIED, check_space

WITH_FIGURE = ["evaluation.tasks=['captions']", "evaluation.select=retrieval.captions.long_form.recall10"]


def faults_of(domains: str, settings: list[str] | None = None, recipe: str = "demo") -> tuple[str, ...]:
    with pytest.raises(SpaceError) as raised:
        check_space(space_from_toml(f"[space]\n{domains}", name="s"), load_recipe(recipe, settings or []))
    return raised.value.faults


def test_all_faults_of_fields_are_listed() -> None:
    faults = faults_of(
        """
        "optim.lrr" = { loguniform = [1e-4, 1e-2] }
        "optim" = { choice = [1, 2] }
        "loss.temperature_init" = { uniform = [-0.1, 1.5] }
        "optim.warmup_steps" = { uniform = [0.5, 3] }
        "scale.workers" = { choice = [1, 2] }
        """
    )
    text = "\n".join(faults)
    assert "optim.lrr is not a field; did you mean lr?" in text
    assert "optim = 1: input should be a section" in text
    assert "loss.temperature_init = -0.1: input should be greater than 0" in text
    assert "loss.temperature_init = 1.5: input should be less than 1" in text
    assert "optim.warmup_steps = 0.5: input should be a valid integer" in text
    assert "scale.workers cannot be varied: the result does not depend on it" in text


def test_known_faults_of_a_space_are_listed_first_with_those_of_its_values() -> None:
    space = space_from_toml('[space]\n"optim.lrr" = { choice = [1] }', name="s")
    with pytest.raises(SpaceError) as raised:
        check_space(space, load_recipe("demo"), ["a = 1 is not a domain"])
    first, second = raised.value.faults
    assert (first, second.split(";")[0]) == ("a = 1 is not a domain", "optim.lrr is not a field")
    with pytest.raises(SpaceError, match="space s: a = 1 is not a domain"):
        check_space(Space("s", {}), load_recipe("demo"), ["a = 1 is not a domain"])


@pytest.mark.parametrize("field", [name if not name.endswith(".") else f"{name}any" for name in NOT_VARIED])
def test_fields_without_influence_or_comparison_are_refused(field: str) -> None:
    (fault,) = faults_of(f'"{field}" = {{ choice = [1, 2] }}')
    assert fault.startswith(f"{field} cannot be varied: ")


def test_every_combination_of_bounds_is_tried() -> None:
    (fault,) = faults_of(
        '"optim.warmup_steps" = { randint = [0, 300] }\n"optim.decay_until_step" = { randint = [200, 480] }',
        ["train.steps=100"],
    )
    assert fault.startswith(
        "with optim.decay_until_step=200 and optim.warmup_steps=300 together, the recipe is not valid"
    )


def test_other_queries_need_a_figure_over_the_same_ones() -> None:
    varied = '"data.source_ratio.tags" = { choice = [0, 1] }'
    (fault,) = faults_of(varied)
    assert fault.startswith("data.source_ratio.tags changes which recordings and texts a validation compares")
    check_space(space_from_toml(f"[space]\n{varied}", name="s"), load_recipe("demo", WITH_FIGURE))


def test_fields_of_every_kind_may_be_varied() -> None:
    varied = """
    "audio_tower.stage_channels" = { choice = [[32, 64, 128, 256], [16, 32, 64, 128]] }
    "loss.mask_equal_texts" = { grid = [true, false] }
    "text_tower.frozen_layers" = { randint = [0, 6] }
    "optim.schedule" = { choice = ["linear", "cosine"] }
    "data.text_sampling" = { choice = ["one", "subset"] }
    """
    check_space(space_from_toml(f"[space]\n{varied}", name="s"), load_recipe("demo"))


@pytest.mark.parametrize("kind", ["uniform", "loguniform"])
def test_a_field_of_integers_has_no_interval_of_numbers(kind: str) -> None:
    (fault,) = faults_of(f'"optim.warmup_steps" = {{ {kind} = [1, 8] }}')
    assert "input should be a valid integer" in fault


def test_every_integer_of_a_short_interval_is_tried() -> None:
    faults = faults_of('"audio_tower.stem_stride" = { randint = [1, 4] }')
    assert any("audio_tower.stem_stride = 3" in fault for fault in faults)
