"""Tests that the pictures of a sweep can be drawn in every state of it, and what they describe."""

from xml.etree import ElementTree

import pytest

from tests.tune.sweeps import SPACE, options, plan_in
from tests.tune.test_summary import swept
from tune.importance import Importance
from tune.outcome import outcome_of
from tune.pictures import curves_picture, field_pictures, front_picture, importance_picture, parallel_picture
from tune.points import own_values
from tune.summary import SweepResult
from tune.trial import planned_trials

OUTSIDE = """
[space]
"optim.lr" = { loguniform = [0.05, 0.5] }
"audio_tower.hidden_size" = { choice = [1] }
"text_tower.prefix" = { choice = ["a very long prefix that would not fit below an axis", "$a_{$ b"] }
"""


def texts(svg: bytes) -> str:
    return " ".join(ElementTree.fromstring(svg).itertext())


@pytest.mark.parametrize("space", [SPACE, OUTSIDE])
def test_every_picture_of_a_sweep(run_folder: str, space: str) -> None:
    result = swept(plan_in(run_folder, space=space, objectives=["recall10=max", "step_seconds=min"]))
    assert "5 trials" in curves_picture(result).alt
    domains, pictures = zip(*field_pictures(result), strict=True)
    assert domains == tuple(str(domain) for domain in result.plan.space.domains.values())
    for field, picture in zip(result.plan.space.domains, pictures, strict=True):
        assert field in texts(picture.svg)
    assert "recall@10" in texts(parallel_picture(result).svg)
    assert front_picture(result).alt == "recall@10 over s per step; not surpassed: trial_0001."


def test_a_sweep_without_validations_can_be_drawn(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE, objectives=["recall10=max", "step_seconds=min"])
    result = SweepResult(plan, options(2), [outcome_of(trial, plan) for trial in planned_trials(plan, 2)])
    assert "0 trials" in curves_picture(result).alt
    assert field_pictures(result) == []
    assert parallel_picture(result).svg
    assert "none yet" in front_picture(result).alt


def test_a_field_at_whose_values_nothing_was_validated_has_no_picture(run_folder: str) -> None:
    result = swept(plan_in(run_folder, space='[space]\n"audio_tower.stem_channels" = { choice = [3, 5] }'))
    assert len(field_pictures(result)) == 1
    assert field_pictures(SweepResult(result.plan, result.options, result.outcomes[:1])) == []


@pytest.mark.parametrize(
    ("domain", "labels"),
    [
        ("loguniform = [0.02, 0.5]", ["0.02", "0.05", "0.1", "0.2", "0.5"]),
        ("loguniform = [0.2, 0.9]", ["0.1", "0.2", "0.5", "0.9"]),  # the recipe's own value is below
        ("uniform = [0.03, 0.43]", ["0.03", "0.16", "0.24", "0.32", "0.43"]),
    ],
)
def test_a_field_s_axis_has_the_bounds_of_its_interval_even_for_one_trial(
    run_folder: str, domain: str, labels: list[str]
) -> None:
    result = swept(plan_in(run_folder, space=f'[space]\n"loss.temperature_init" = {{ {domain} }}'))
    assert own_values(result.plan) == {"loss.temperature_init": 0.1}
    ((_, picture),) = field_pictures(SweepResult(result.plan, result.options, result.outcomes[:1]))
    drawn = [text for one in ElementTree.fromstring(picture.svg).itertext() if (text := one.strip())]
    assert drawn[1 : drawn.index("loss.temperature_init")] == labels  # the first text is a style sheet


def test_every_interval_of_numbers_has_an_axis(run_folder: str) -> None:
    domains = (
        "loguniform = [1e-30, 1e30]",
        "uniform = [-8e307, 8e307]",
        "randint = [0, 1]",
        "randint = [0, 9000000]",
    )
    for number, domain in enumerate(domains):
        plan = plan_in(f"{run_folder}/{number}", space=f'[space]\n"optim.warmup_steps" = {{ {domain} }}')
        assert "optim.warmup_steps" in texts(field_pictures(swept(plan))[0][1].svg)


def test_importances_are_drawn_with_their_numbers() -> None:
    picture = importance_picture(Importance({"optim.lr": 0.75, "loss.temperature_init": 0.25}, 4, 20))
    assert "0.75" in texts(picture.svg)
    assert picture.alt == "Share of the variance that each field explains: optim.lr 0.75, loss.temperature_init 0.25."
