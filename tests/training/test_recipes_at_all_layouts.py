"""Promise: the number of workers and the ZeRO stage change the speed of a recipe, never its result. At every layout."""

import pytest

from tests.training.recipe_runs import (
    LAYOUTS,
    RECIPES,
    Trained,
    assert_same_first_gradient,
    assert_same_run,
    recipe,
    train_in_processes,
)
from tests.training.same import losses

pytestmark = [pytest.mark.processes, pytest.mark.long(group="whole"), pytest.mark.timeout(1800)]
STEPS = 20
TEXTS = tuple(name for name in RECIPES if "_aset" in name or "unfiltered" in name)
"""Recipes that differ from another one by their texts alone."""

Runs = dict[tuple[int, int], list[Trained]]
"""What every process has, by the number of workers and the ZeRO stage."""


def layouts(name: str) -> list[tuple[int, int]]:
    """A recipe's; those that differ by their texts alone take one each, all of them together."""
    return list(LAYOUTS) if name not in TEXTS else [LAYOUTS[TEXTS.index(name) % len(LAYOUTS)]]


@pytest.fixture(scope="module", params=RECIPES)
def runs(
    request: pytest.FixtureRequest,
    tiny_corpus_with_unfiltered_texts: str,
    narrow_bert: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Runs:
    """Of one recipe: the states of all of them would fill a machine's memory."""
    found: Runs = {}
    for count in (1, 2, 4):
        recipes = {
            (workers, stage): recipe(
                request.param, tiny_corpus_with_unfiltered_texts, bert=narrow_bert, stage=stage, steps=STEPS
            )
            for workers, stage in [(1, 0), *layouts(request.param)]
            if workers == count
        }
        if recipes:  # in one group of processes, which are slow to start
            found |= train_in_processes(count, recipes, tmp_path_factory.mktemp("runs"))
    return found


def test_all_layouts_train_the_same_model(runs: Runs) -> None:
    (alone,) = runs[1, 0]
    assert len(alone.lines) == STEPS
    assert len(runs) > 1
    for (workers, stage), ranks in runs.items():
        assert len(ranks) == workers
        assert_same_run(ranks, alone, where=f"{workers} workers at stage {stage}")


def test_the_first_gradient_is_the_same(runs: Runs) -> None:
    (alone,) = runs[1, 0]
    for layout, (ours, *_) in runs.items():
        assert_same_first_gradient(ours, alone, where=f"{layout}")


def test_the_loss_falls(runs: Runs) -> None:
    """Or the comparisons above would compare models that hardly change. Masks and labels make single steps uneven."""
    curve = losses(runs[1, 0][0].lines)
    assert sum(curve[-5:]) < sum(curve[:5])


@pytest.fixture(scope="module")
def curves() -> set[tuple[float, ...]]:
    """Of the recipes so far."""
    return set()


def test_every_curve_is_another_one(runs: Runs, curves: set[tuple[float, ...]]) -> None:
    """Or the comparisons above would compare less than they seem to."""
    curve = tuple(losses(runs[1, 0][0].lines))
    assert curve not in curves
    curves.add(curve)
