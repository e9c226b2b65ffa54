"""Promise: the number of workers and the ZeRO stage change the speed of a recipe, never its result.

Every recipe at one layout, and every layout by about two recipes; all of them at all layouts, for longer, in
test_recipes_at_all_layouts.
"""

import pytest

from mulan.config.recipes import named_recipes
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
def test_every_trained_tensor_has_moved(name: str, runs: dict[str, tuple[Trained, list[Trained]]]) -> None:
    """Or the comparison would compare models that hardly change. In so few steps, losses may still rise."""
    alone, _ = runs[name]
    assert len(alone.first_weights) > 5
    for key, first in alone.first_weights.items():
        assert float((alone.state[f"weights.{key}"] - first).abs().max()) > 1e-4, key


@pytest.mark.parametrize("name", [name for name in RECIPES if named_recipes()[name].loss.weights.read_text])
def test_trained_weights_are_large_enough_to_be_sharded(
    name: str, runs: dict[str, tuple[Trained, list[Trained]]]
) -> None:
    """At stage 3 DeepSpeed keeps tensors of up to 100,000 numbers whole on every worker."""
    assert max(first.numel() for first in runs[name][0].first_weights.values()) > 100_000


def test_every_recipe_is_another_one(runs: dict[str, tuple[Trained, list[Trained]]]) -> None:
    """Or the comparisons above would compare less than they seem to."""
    assert len({tuple(losses(alone.lines)) for alone, _ in runs.values()}) == len(RECIPES)


def test_every_layout_is_taken() -> None:
    assert {layout(name) for name in RECIPES} == set(LAYOUTS)
