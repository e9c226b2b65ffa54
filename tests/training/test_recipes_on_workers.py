"""Promise: the number of workers and the ZeRO stage change the speed of a recipe, never its result.

Every recipe at one layout, and every layout by about two recipes; all of them at all layouts, for longer, in
test_recipes_at_all_layouts.
"""

import pytest
import torch

from tests.training.recipe_runs import (
    LAYOUTS,
    RECIPES,
    Trained,
    assert_same_first_gradient,
    assert_same_run,
    recipe,
    train_in_processes,
)
from tests.training.same import losses, without_kinks

pytestmark = pytest.mark.processes
STEPS = 8


def layout(name: str) -> tuple[int, int]:
    return LAYOUTS[RECIPES.index(name) % len(LAYOUTS)]


@pytest.fixture(scope="module")
def runs(
    tiny_corpus_with_unfiltered_texts: str, narrow_bert: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Trained, list[Trained]]]:
    """By recipe: alone, and what every process has at its layout. Processes take longer to start than to train."""
    found = {}
    for count in (1, 2, 4):
        recipes = {}
        for name in RECIPES:
            workers, stage = (1, 0) if count == 1 else layout(name)
            if workers == count:
                recipes[name] = recipe(
                    name, tiny_corpus_with_unfiltered_texts, bert=narrow_bert, stage=stage, steps=STEPS
                )
        found[count] = train_in_processes(count, recipes, tmp_path_factory.mktemp("runs"))
    return {name: (found[1][name][0], found[layout(name)[0]][name]) for name in RECIPES}


@pytest.mark.parametrize("name", RECIPES)
def test_workers_and_stages_train_the_same_model(name: str, runs: dict[str, tuple[Trained, list[Trained]]]) -> None:
    alone, ranks = runs[name]
    assert [line["step"] for line in alone.lines] == list(range(1, STEPS + 1))
    assert len(ranks) == layout(name)[0]
    assert_same_run(ranks, alone, where=f"{layout(name)}")
    assert_same_first_gradient(ranks[0], alone, where=f"{layout(name)}")


@pytest.mark.parametrize("name", RECIPES)
def test_every_trained_tensor_has_moved(
    name: str, runs: dict[str, tuple[Trained, list[Trained]]], narrow_bert: str
) -> None:
    """Or the comparison would compare models that hardly change. In so few steps, losses may still rise."""
    alone, _ = runs[name]
    one = recipe(name, "/nowhere", bert=narrow_bert, stage=0, steps=STEPS)
    torch.manual_seed(one.train.seed)
    first = without_kinks(one).state_dict()
    trained = [key for key in first if f"exp_avg.{key}" in alone.state]
    assert len(trained) > 5
    unmoved = [key for key in trained if float((alone.state[f"weights.{key}"] - first[key]).abs().max()) <= 1e-4]
    assert unmoved == []


def test_every_recipe_is_another_one(runs: dict[str, tuple[Trained, list[Trained]]]) -> None:
    """Or the comparisons above would compare less than they seem to."""
    assert len({tuple(losses(alone.lines)) for alone, _ in runs.values()}) == len(RECIPES)


def test_every_layout_is_taken() -> None:
    assert {layout(name) for name in RECIPES} == set(LAYOUTS)
