"""Tests that every recipe trains on a GPU, with the same bits each time and at every ZeRO stage."""

from pathlib import Path

import pytest

from tests.training.recipe_runs import RECIPES, assert_same_run, recipe, train_in_processes
from tests.training.same import losses

pytestmark = [pytest.mark.gpu, pytest.mark.processes, pytest.mark.timeout(1200)]
STEPS = 6


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_the_same_model_each_time_and_at_every_stage(
    name: str, precision: str, tiny_corpus_with_unfiltered_texts: str, narrow_bert: str, tmp_path: Path
) -> None:
    settings = ["scale.use_gpu=true", f"train.precision={precision}"]
    recipes = {
        (number, stage): recipe(
            name, tiny_corpus_with_unfiltered_texts, bert=narrow_bert, stage=stage, steps=STEPS, settings=settings
        )
        for number, stage in ((0, 0), (1, 0), (0, 1), (0, 2), (0, 3))
    }
    runs = train_in_processes(1, recipes, tmp_path, use_gpu=True)  # type: ignore[arg-type]
    (first,) = runs[0, 0]
    assert len(set(losses(first.lines))) == STEPS
    for (number, stage), ranks in runs.items():
        assert_same_run(ranks, first, where=f"run {number} at stage {stage}")
