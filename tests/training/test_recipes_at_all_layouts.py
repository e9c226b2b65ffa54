"""Tests that the number of workers and the ZeRO stage change the speed of a recipe, never a bit of its result.

At every layout.
"""

import pytest

from tests.training.recipe_runs import (
    MICRO_BATCHES,
    RECIPES,
    Layout,
    Trained,
    assert_same_run,
    recipe,
    train_in_processes,
)
from tests.training.same import losses

pytestmark = [pytest.mark.processes, pytest.mark.long(group="whole"), pytest.mark.timeout(1800)]
STEPS = 20
LAYOUTS = tuple((workers, stage) for workers in (1, 2, 4) for stage in range(4))
TEXTS = tuple(name for name in RECIPES if "_aset" in name or "unfiltered" in name)
"""Recipes that differ from another one by their texts alone."""
KINDS = tuple(name for name in RECIPES if name not in TEXTS)

Runs = dict[Layout, list[Trained]]
"""What every process has."""


def layouts(name: str) -> set[Layout]:
    """A recipe's; those that differ by their texts alone take one each, all of them together."""
    return set(LAYOUTS) if name in KINDS else {(1, 0), LAYOUTS[1 + TEXTS.index(name) % (len(LAYOUTS) - 1)]}


class Trainer:
    """Trains recipes at layouts."""

    def __init__(self, uri: str, bert: str, folders: pytest.TempPathFactory) -> None:
        self._uri, self._bert, self._folders = uri, bert, folders

    def __call__(self, name: str, layouts: set[Layout], *, micro_batches: int, steps: int) -> Runs:
        found: Runs = {}
        for count in sorted({workers for workers, _ in layouts}):  # in one group of processes, which are slow to start
            recipes = {
                (workers, stage): recipe(
                    name, self._uri, bert=self._bert, stage=stage, steps=steps, micro_batches=micro_batches
                )
                for workers, stage in layouts
                if workers == count
            }
            found |= train_in_processes(count, recipes, self._folders.mktemp("runs"))  # type: ignore[arg-type]
        return found


@pytest.fixture(scope="module")
def trainer(
    tiny_corpus_with_unfiltered_texts: str, narrow_bert: str, tmp_path_factory: pytest.TempPathFactory
) -> Trainer:
    return Trainer(tiny_corpus_with_unfiltered_texts, narrow_bert, tmp_path_factory)


@pytest.fixture(scope="module", params=RECIPES)
def runs(request: pytest.FixtureRequest, trainer: Trainer) -> Runs:
    return trainer(request.param, layouts(request.param), micro_batches=MICRO_BATCHES, steps=STEPS)


def assert_same_runs(runs: Runs) -> None:
    (alone,) = runs[1, 0]
    assert len(runs) > 1
    for (workers, stage), ranks in runs.items():
        assert len(ranks) == workers
        assert_same_run(ranks, alone, where=f"{workers} workers at stage {stage}")


def test_all_layouts_train_the_same_model(runs: Runs) -> None:
    assert len(runs[1, 0][0].lines) == STEPS
    assert_same_runs(runs)


@pytest.mark.parametrize("name", KINDS)
def test_three_and_six_workers_train_the_same_model(name: str, trainer: Trainer) -> None:
    """No powers of two, and few sizes of tensors are multiples of them."""
    places = {(1, 0)} | {(workers, stage) for workers in (3, 6) for stage in range(4)}
    assert_same_runs(trainer(name, places, micro_batches=6, steps=4))


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
