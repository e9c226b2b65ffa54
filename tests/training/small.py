"""Small steps without a corpus: synthetic batches for the miniatures, and PyTorch engines."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from mulan.benchmarks.synthetic import synthetic_batch
from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.recipes.miniature import MINILM
from mulan.recipes.registry import load_recipe
from mulan.storage.hub import pretrained_folder
from mulan.tasks.task import task_of
from mulan.training.engines.torch import TorchEngine


def small(name: str, *settings: str) -> Recipe:
    """Returns a miniature with four micro-batches of six pairs."""
    common = ["batch.micro_batches=4", "batch.pairs_per_micro_batch=6", "scale.workers=1"]
    return load_recipe(f"{name}_miniature", [*common, *settings])


def batches_of(recipe: Recipe, step: int, *, tokens: int = 0) -> list[Batch]:
    """Returns the micro-batches of a step; ``tokens`` as in :func:`mulan.benchmarks.synthetic.synthetic_batch`."""
    numbers = range(recipe.batch.micro_batches)
    return [synthetic_batch(recipe, step=step, micro_batch=number, tokens=tokens) for number in numbers]


def torch_engine(recipe: Recipe) -> TorchEngine:
    torch.manual_seed(recipe.train.seed)
    return TorchEngine.from_recipe(task_of(recipe).build_model(), recipe, device=torch.device("cpu"))


def save_bert(folder: Path, **sizes: int) -> str:
    """Saves a randomly initialised text encoder with the tokenizer of the pretrained one, and returns the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(**sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(pretrained_folder(MINILM), local_files_only=True).save_pretrained(folder)
    return str(folder)
