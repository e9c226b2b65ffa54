"""Small steps without a corpus: batches of noise for the miniatures, and engines of plain PyTorch."""

import torch

from mulan.benchmarks.drawn import drawn_batch
from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.data.batch import Batch
from mulan.model.build import build_model
from mulan.training.torch_engine import TorchEngine


def small(name: str, *settings: str) -> Recipe:
    """A miniature in four micro-batches of six pairs."""
    common = ["batch.micro_batches=4", "batch.pairs_per_micro_batch=6", "scale.workers=1"]
    return load_recipe(f"{name}_miniature", named_recipes(), [*common, *settings])


def batches_of(recipe: Recipe, step: int, *, tokens: int = 0) -> list[Batch]:
    """``tokens``: see :func:`mulan.benchmarks.drawn.drawn_batch`."""
    numbers = range(recipe.batch.micro_batches)
    return [drawn_batch(recipe, step=step, micro_batch=number, tokens=tokens) for number in numbers]


def torch_engine(recipe: Recipe) -> TorchEngine:
    torch.manual_seed(recipe.train.seed)
    return TorchEngine(build_model(recipe), recipe, device=torch.device("cpu"))
