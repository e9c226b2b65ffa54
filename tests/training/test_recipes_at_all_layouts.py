"""Tests that the results of a recipe are bitwise independent of the number of workers and the ZeRO stage.

Every recipe is trained at every layout.
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

pytestmark = [pytest.mark.processes, pytest.mark.long(group="layouts"), pytest.mark.timeout(1800)]
STEPS = 20
LAYOUTS = tuple((workers, stage) for workers in (1, 2, 4) for stage in range(4))
TEXTS = tuple(name for name in RECIPES if "_aset" in name or "unfiltered" in name)
"""Recipes that differ from another one in their texts only."""
KINDS = tuple(name for name in RECIPES if name not in TEXTS)

Runs = dict[Layout, list[Trained]]
"""Results of all processes by layout."""


def layouts(name: str) -> set[Layout]:
    """Returns the layouts of a recipe; those in TEXTS have one each, and together cover all layouts."""
    return set(LAYOUTS) if name in KINDS else {(1, 0), LAYOUTS[1 + TEXTS.index(name) % (len(LAYOUTS) - 1)]}


class Trainer:
    """Trains recipes at layouts."""

    def __init__(self, uri: str, bert: str, folders: pytest.TempPathFactory) -> None:
        self._uri, self._bert, self._folders = uri, bert, folders

    def __call__(self, name: str, layouts: set[Layout], *, micro_batches: int, steps: int) -> Runs:
        runs: Runs = {}
        for count in sorted({workers for workers, _ in layouts}):  # process groups are slow to start
            recipes = {
                (workers, stage): recipe(
                    name, self._uri, bert=self._bert, stage=stage, steps=steps, micro_batches=micro_batches
                )
                for workers, stage in layouts
                if workers == count
            }
            runs |= train_in_processes(count, recipes, self._folders.mktemp("runs"))  # type: ignore[arg-type]
        return runs


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
    """These numbers are not powers of two, and few tensor sizes are multiples of them."""
    places = {(1, 0)} | {(workers, stage) for workers in (3, 6) for stage in range(4)}
    assert_same_runs(trainer(name, places, micro_batches=6, steps=4))


def test_the_loss_falls(runs: Runs) -> None:
    """Otherwise the models above would hardly change. Single steps vary by masks and labels."""
    curve = losses(runs[1, 0][0].lines)
    assert sum(curve[-5:]) < sum(curve[:5])


@pytest.fixture(scope="module")
def curves() -> set[tuple[float, ...]]:
    """Loss curves of the previous recipes."""
    return set()


def test_all_loss_curves_differ(runs: Runs, curves: set[tuple[float, ...]]) -> None:
    """Otherwise the comparisons above would cover fewer recipes than they seem to."""
    curve = tuple(losses(runs[1, 0][0].lines))
    assert curve not in curves
    curves.add(curve)
