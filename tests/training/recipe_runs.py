"""Every recipe's miniature, trained by workers at a ZeRO stage, and what two such runs have in common."""

import hashlib
import math
import shutil
from collections.abc import Hashable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save

from mulan.config.recipe import MINIATURE, Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.objectives.collectives import world
from mulan.training.engine import CheckpointedEngine
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.training.same import assert_same_norms, assert_same_state, losses, without_kinks

RECIPES = tuple(name for name in named_recipes() if name.endswith(MINIATURE))
LAYOUTS = tuple((workers, stage) for workers in (2, 4) for stage in range(4))
"""Workers and ZeRO stage."""


class Trained(NamedTuple):
    """What one process has at the end of a run."""

    lines: list[dict[str, Any]]
    """The lines of metrics."""
    digest: str
    """SHA-256 of the final state."""
    state: dict[str, torch.Tensor]
    """The final state, in the first process only."""
    first_gradient: dict[str, torch.Tensor]
    """The gradient of every parameter at the first step, in the first process only."""
    first_weights: dict[str, torch.Tensor]
    """Every trained parameter after the first step, in the first process only."""


def recipe(name: str, uri: str, *, bert: str, stage: int, steps: int) -> Recipe:
    """A recipe in four micro-batches of four pairs, with a narrow text tower.

    MuLaP keeps its pretrained one: of so narrow a text, its fusion makes gradients that are mostly rounding.
    """
    settings = [f"train.steps={steps}", f"train.checkpoint_every_steps={steps}", "train.validation_micro_batches=0"]
    settings += ["batch.micro_batches=4", "batch.pairs_per_micro_batch=4", "scale.workers=1"]
    settings += [f"train.zero_stage={stage}", "optim.weight_decay=0.01", "optim.pretrained_lr_scale=0.5"]
    # above the rounding of gradients, of which Adam would make whole steps; two terms have more of it
    epsilon = 1e-4 if name.startswith("mulan_semi") else 1e-5
    settings += [f"optim.epsilon={epsilon}"]
    settings += ["optim.max_gradient_norm=1e9"]  # the first moment shows the gradient as it is
    if named_recipes()[name].loss.weights.read_text:
        settings += ["text_tower.layers=2", "text_tower.frozen_layers=1"]
        if named_recipes()[name].loss.weights.of_mulap:
            settings += ["text_tower.length_groups=1"]
        else:
            settings += [f"text_tower.pretrained={bert}", "text_tower.length_groups=2"]
    return load_recipe(name, named_recipes(), settings, data_uri=uri)


def trained(one: Recipe, run_uri: str) -> Trained:
    gradient: dict[str, torch.Tensor] = {}
    weights: dict[str, torch.Tensor] = {}

    def watch(engine: CheckpointedEngine, line: dict[str, Any]) -> None:
        if line["step"] == 1:
            state = engine.state()
            for name in (key.removeprefix("exp_avg.") for key in state if key.startswith("exp_avg.")):
                gradient[name] = state[f"exp_avg.{name}"] / (1 - one.optim.beta1)
                weights[name] = state[f"weights.{name}"].clone()

    lines, state = train_inline(one, run_uri, watch=watch)
    leads = world()[0] == 0
    if leads:
        shutil.rmtree(run_uri)  # never resumed, and the checkpoints of all cases are 4 GB
    digest = hashlib.sha256(save(state)).hexdigest()
    return Trained(lines, digest, state, gradient, weights) if leads else Trained(lines, digest, {}, {}, {})


def train_in_processes(workers: int, recipes: dict[Hashable, Recipe], folder: Path) -> dict[Hashable, list[Trained]]:
    """Smooth models, one after another, in one group of processes; for each recipe what every process has."""
    ranks = run_in_processes(_train_all, workers, recipes, str(folder / "runs"), folder=folder / "results")
    return {key: [rank[key] for rank in ranks] for key in recipes}


def _train_all(recipes: dict[Hashable, Recipe], folder: str) -> dict[Hashable, Trained]:
    with patch("mulan.training.worker.build_model", without_kinks):
        return {key: trained(one, f"{folder}/{key}") for key, one in recipes.items()}


def assert_same_run(ranks: list[Trained], alone: Trained, *, where: str) -> None:
    """Losses, norms and the whole state are those of one process, and all processes have the same bits."""
    assert losses(ranks[0].lines) == pytest.approx(losses(alone.lines), rel=1e-5), where
    assert_same_norms(ranks[0].lines, alone.lines)
    assert_same_state(ranks[0].state, alone.state)
    assert {rank.digest for rank in ranks} == {ranks[0].digest}, where


def assert_same_first_gradient(ours: Trained, alone: Trained, *, where: str) -> None:
    assert ours.first_gradient.keys() == alone.first_gradient.keys()
    differences, sizes = [], []
    for parameter, expected in alone.first_gradient.items():
        differences.append(float((ours.first_gradient[parameter] - expected).norm()))
        sizes.append(float(expected.norm()))
        assert differences[-1] <= 1e-5 * sizes[-1], (where, parameter)
    assert math.hypot(*differences) <= 1e-6 * math.hypot(*sizes), where
