"""Tests that the points of a sweep are the same in every call, and which points there are."""

import itertools

from tests.tune.sweeps import SPACE, plan_in
from tune.plan import Method
from tune.points import grid_size, known_point, method_faults, own_values
from tune.space import space_from_toml

GRID = """
[space]
"optim.lr" = { grid = [0.001, 0.01] }
"optim.warmup_steps" = { choice = [0, 1, 2] }
"""


def test_the_first_trial_is_the_recipe_itself(run_folder: str) -> None:
    assert known_point(plan_in(run_folder), 0) == {}
    assert known_point(plan_in(run_folder, space=GRID, method="grid"), 0) == {}
    assert known_point(plan_in(run_folder, method="optuna"), 0) == {}
    assert known_point(plan_in(run_folder, method="optuna"), 1) is None


def test_random_points_depend_on_seed_name_and_number_alone(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE)
    points = [known_point(plan, number) for number in range(1, 9)]
    assert points == [known_point(plan_in(run_folder, space=SPACE), number) for number in range(1, 9)]
    assert len({str(point) for point in points}) == 8
    others = [plan_in(run_folder, space=SPACE, name="t"), plan_in(run_folder, space=SPACE, settings=["train.seed=1"])]
    assert all(known_point(other, 1) != points[0] for other in others)
    for point in points:
        assert point is not None
        assert point.keys() == plan.space.domains.keys()
        assert all(domain.contains(point[field]) for field, domain in plan.space.domains.items())


def test_a_grid_has_every_combination_once(run_folder: str) -> None:
    plan = plan_in(run_folder, space=GRID, method="grid")
    assert grid_size(plan.space) == 6
    points = [known_point(plan, number) for number in range(1, 7)]
    assert [tuple(point.values()) for point in points if point] == list(itertools.product([0.001, 0.01], [0, 1, 2]))


def test_the_method_must_suit_the_space() -> None:
    faults = method_faults(space_from_toml(SPACE, name="s"), "grid")
    assert len(faults) == 2
    assert "optim.lr is an interval (0.0001 to 0.01, log-uniform)" in faults[0]
    grid = space_from_toml(GRID, name="s")
    methods: tuple[Method, ...] = ("random", "optuna")
    for method in methods:
        (fault,) = method_faults(grid, method)
        assert f"optim.lr is a grid, which --search {method} does not try completely" in fault
    assert method_faults(grid, "grid") == []


def test_own_values_are_those_of_the_recipe(run_folder: str) -> None:
    plan = plan_in(run_folder, space=SPACE, settings=["optim.lr=0.5"])
    tower = plan.recipe.audio_tower.model_dump()
    assert own_values(plan) == {
        "audio_tower.stem_channels": tower["stem_channels"],
        "optim.lr": 0.5,
        "optim.warmup_steps": plan.recipe.optim.warmup_steps,
    }
    other = plan_in(run_folder, space='[space]\n"audio_tower.hidden_size" = { choice = [1, 2] }')
    assert own_values(other) == {"audio_tower.hidden_size": None}
