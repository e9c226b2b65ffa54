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
"""Workers and ZeRO stage."""


class Trained(NamedTuple):
    """What one process has at the end of a run."""

    lines: list[dict[str, Any]]
    """The lines of metrics, without times."""
    digests: dict[str, str]
    """Of every tensor of the final state."""
    sizes: dict[str, int]
    """How many numbers every trained tensor has."""
    still: list[str]
    """Trained tensors that have had no gradient but zeros."""


def recipe(
    name: str, uri: str, *, bert: str, stage: int, steps: int, micro_batches: int = MICRO_BATCHES, settings: Any = ()
) -> Recipe:
    """A recipe in micro-batches of four pairs, with a narrow text tower, of which a layer is frozen."""
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
        shutil.rmtree(run_uri)  # never resumed, and the checkpoints of all cases are gigabytes
    moments = {name.partition(".")[2]: tensor for name, tensor in state.items() if name.startswith("exp_avg_sq.")}
    sizes = {name: tensor.numel() for name, tensor in moments.items()}
    still = [name for name, tensor in moments.items() if not tensor.any()]
    return Trained(measured(lines), digests(state), sizes, still)


def train_in_processes(workers: int, recipes: dict[Hashable, Recipe], folder: Path) -> dict[Hashable, list[Trained]]:
    """Trains one recipe after another in one group of processes; returns what every process has of each."""
    ranks = run_in_processes(_train_all, workers, recipes, str(folder / "runs"), folder=folder / "results")
    return {key: [rank[key] for rank in ranks] for key in recipes}


def _train_all(recipes: dict[Hashable, Recipe], folder: str) -> dict[Hashable, Trained]:
    return {key: trained(one, f"{folder}/{number}") for number, (key, one) in enumerate(recipes.items())}


def assert_same_run(ranks: list[Trained], alone: Trained, *, where: str) -> None:
    """All that was measured and trained has the bits of one process, in every process."""
    for rank in ranks:
        assert rank.lines == alone.lines, where
        assert differing(rank.digests, alone.digests) == [], where
