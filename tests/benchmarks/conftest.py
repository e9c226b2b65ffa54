"""Fixtures: a recipe on the corpus of tones, and its reader."""

import pytest

from mulan.config.recipe import Recipe
from mulan.data.reader import MicroBatchReader
from mulan.recipes.registry import load_recipe


@pytest.fixture(scope="module")
def recipe(tiny_corpus: str) -> Recipe:
    settings = ["batch.micro_batches=1", "batch.pairs_per_micro_batch=6", "scale.workers=1", "data.window_s=1.5"]
    return load_recipe("demo_miniature", settings, data_uri=tiny_corpus)


@pytest.fixture(scope="module")
def reader(recipe: Recipe) -> MicroBatchReader:
    return MicroBatchReader.from_recipe(recipe)
