"""Trains every recipe's miniature on several workers at a ZeRO stage, and compares the runs bit for bit."""

import shutil
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple

import torch.distributed as dist

from mulan.config.recipe import Recipe
from mulan.distributed.collectives import rank_and_world_size
from mulan.recipes.registry import MINIATURE, load_recipe, named_recipes
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.training.same import differing, digests, measured

RECIPES = tuple(name for name in named_recipes() if name.endswith(MINIATURE))
MICRO_BATCHES = 4

Layout = tuple[int, int]
"""Number of workers and ZeRO stage."""


class Trained(NamedTuple):
    """The results of one process at the end of a run."""

    lines: list[dict[str, Any]]
    """Lines of metrics, without times."""
    digests: dict[str, str]
    """Digest of every tensor of the final state."""
    sizes: dict[str, int]
    """Number of elements of every trained tensor."""
    still: list[str]
    """Names of trained tensors whose gradients were all zero."""


def recipe(
    name: str, uri: str, *, bert: str, stage: int, steps: int, micro_batches: int = MICRO_BATCHES, settings: Any = ()
) -> Recipe:
    """Returns a recipe with micro-batches of four pairs and a narrow text tower with one frozen layer."""
    common = [f"train.steps={steps}", f"train.checkpoint_every_steps={steps}", "train.validation_micro_batches=0"]
    common += [f"batch.micro_batches={micro_batches}", "batch.pairs_per_micro_batch=4", "scale.workers=1"]
    common += [f"train.zero_stage={stage}", "optim.weight_decay=0.01", "optim.pretrained_lr_scale=0.5"]
    if named_recipes()[name].loss.weights.uses_text:
        groups = 1 if named_recipes()[name].loss.weights.uses_mulap else 2
        common += [f"text_tower.pretrained={bert}", "text_tower.layers=2", "text_tower.frozen_layers=1"]
        common += [f"text_tower.length_groups={groups}"]
    return load_recipe(name, [*common, *settings], data_uri=uri)


def trained(one: Recipe, run_uri: str) -> Trained:
    lines, state = train_inline(one, run_uri)
    dist.barrier()
    if rank_and_world_size()[0] == 0:
        shutil.rmtree(run_uri)  # not resumed, and the checkpoints of all cases have gigabytes
    moments = {name.partition(".")[2]: tensor for name, tensor in state.items() if name.startswith("exp_avg_sq.")}
    sizes = {name: tensor.numel() for name, tensor in moments.items()}
    still = [name for name, tensor in moments.items() if not tensor.any()]
    return Trained(measured(lines), digests(state), sizes, still)


def train_in_processes(
    workers: int, recipes: dict[Hashable, Recipe], folder: Path, *, use_gpu: bool = False
) -> dict[Hashable, list[Trained]]:
    """Trains the recipes one after another in one process group; returns the results of all processes by recipe."""
    ranks = run_in_processes(
        _train_all, workers, recipes, str(folder / "runs"), folder=folder / "results", use_gpu=use_gpu
    )
    return {key: [rank[key] for rank in ranks] for key in recipes}


def _train_all(recipes: dict[Hashable, Recipe], folder: str) -> dict[Hashable, Trained]:
    return {key: trained(one, f"{folder}/{number}") for number, (key, one) in enumerate(recipes.items())}


def assert_same_run(ranks: list[Trained], alone: Trained, *, where: str) -> None:
    """Asserts that measurements and weights of all processes equal those of a single one bit for bit."""
    for rank in ranks:
        assert rank.lines == alone.lines, where
        assert differing(rank.digests, alone.digests) == [], where
