"""Promise: the number of workers and the ZeRO stage change the speed of a recipe, never its result."""

import hashlib
import math
import shutil
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
STEPS = 20
TEXTS = tuple(name for name in RECIPES if "_aset" in name or "unfiltered" in name)
"""Recipes that differ from another one by their texts alone."""
LAYOUTS = tuple((workers, stage) for workers in (2, 4) for stage in range(4))
"""Workers and ZeRO stage."""


def layouts(name: str) -> list[tuple[int, int]]:
    """A recipe's; those that differ by their texts alone take one each, all of them together."""
    return list(LAYOUTS) if name not in TEXTS else [LAYOUTS[TEXTS.index(name) % len(LAYOUTS)]]


class Trained(NamedTuple):
    """What one process has at the end of a run."""

    lines: list[dict[str, Any]]
    """Of metrics."""
    digest: str
    """Of the final state."""
    state: dict[str, torch.Tensor]
    """Itself, in the first process only."""
    first_gradient: dict[str, torch.Tensor]
    """Of every parameter at the first step; in the first process only."""


def recipe(name: str, uri: str, *, stage: int) -> Recipe:
    settings = [f"train.steps={STEPS}", f"train.checkpoint_every_steps={STEPS}", "train.validation_micro_batches=0"]
    settings += ["batch.micro_batches=4", "batch.pairs_per_micro_batch=4", "scale.workers=1"]
    settings += [f"train.zero_stage={stage}", "optim.weight_decay=0.01", "optim.pretrained_lr_scale=0.5"]
    # above the rounding of gradients, of which Adam would make whole steps; two terms have more of it
    epsilon = 1e-4 if name.startswith("mulan_semi") else 1e-5
    settings += [f"optim.epsilon={epsilon}"]
    settings += ["optim.max_gradient_norm=1e9"]  # the first moment shows the gradient as it is
    if named_recipes()[name].loss.weights.read_text:  # the token embeddings would take most of the time
        groups = 1 if named_recipes()[name].loss.weights.of_mulap else 2
        settings += ["text_tower.layers=2", "text_tower.frozen_layers=1", f"text_tower.length_groups={groups}"]
    return load_recipe(name, named_recipes(), settings, data_uri=uri)


def trained(one: Recipe, run_uri: str) -> Trained:
    first: dict[str, torch.Tensor] = {}

    def watch(engine: CheckpointedEngine, line: dict[str, Any]) -> None:
        if line["step"] == 1:
            moments = {name: tensor for name, tensor in engine.state().items() if name.startswith("exp_avg.")}
            first.update({name: moment / (1 - one.optim.beta1) for name, moment in moments.items()})

    lines, state = train_inline(one, run_uri, watch=watch)
    leads = world()[0] == 0
    if leads:
        shutil.rmtree(run_uri)  # never resumed, and the checkpoints of all cases are 4 GB
    return Trained(lines, hashlib.sha256(save(state)).hexdigest(), state if leads else {}, first if leads else {})


def train_all(recipes: dict[tuple[int, int], Recipe], folder: str) -> dict[tuple[int, int], Trained]:
    """Several runs, one after another, in one process group."""
    with patch("mulan.training.worker.build_model", without_kinks):
        return {layout: trained(one, f"{folder}/{layout}") for layout, one in recipes.items()}


Runs = dict[tuple[int, int], list[Trained]]
"""What every process has, by the number of workers and the ZeRO stage."""


@pytest.fixture(scope="module", params=RECIPES)
def runs(
    request: pytest.FixtureRequest, tiny_corpus_with_unfiltered_texts: str, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    """Of one recipe: the states of all of them would fill a machine's memory."""
    folder = str(tmp_path_factory.mktemp("runs"))
    found: Runs = {}
    for count in (1, 2, 4):
        recipes = {
            (workers, stage): recipe(request.param, tiny_corpus_with_unfiltered_texts, stage=stage)
            for workers, stage in [(1, 0), *layouts(request.param)]
            if workers == count
        }
        if recipes:  # in one group of processes, which are slow to start
            ranks = run_in_processes(train_all, count, recipes, folder, folder=Path(folder, f"of {count}"))
            found |= {layout: [rank[layout] for rank in ranks] for layout in recipes}
    return found


@pytest.mark.timeout(1800)
def test_workers_and_stages_train_the_same_model(runs: Runs) -> None:
    (alone,) = runs[1, 0]
    assert len(alone.lines) == STEPS
    assert len(runs) > 1
    for (workers, stage), ranks in runs.items():
        where = f"{workers} workers at stage {stage}"
        assert len(ranks) == workers
        assert losses(ranks[0].lines) == pytest.approx(losses(alone.lines), rel=1e-5), where
        assert_same_norms(ranks[0].lines, alone.lines)
        assert_same_state(ranks[0].state, alone.state)
        assert {rank.digest for rank in ranks} == {ranks[0].digest}, where


def test_the_first_gradient_is_the_same(runs: Runs) -> None:
    (alone,) = runs[1, 0]
    for layout, (ours, *_) in runs.items():
        assert ours.first_gradient.keys() == alone.first_gradient.keys()
        differences, sizes = [], []
        for parameter, expected in alone.first_gradient.items():
            differences.append(float((ours.first_gradient[parameter] - expected).norm()))
            sizes.append(float(expected.norm()))
            assert differences[-1] <= 1e-5 * sizes[-1], (layout, parameter)
        assert math.hypot(*differences) <= 1e-6 * math.hypot(*sizes), layout


def test_the_loss_falls(runs: Runs) -> None:
    """Or the comparisons above would compare models that hardly change. Masks and labels make single steps uneven."""
    curve = losses(runs[1, 0][0].lines)
    assert sum(curve[-5:]) < sum(curve[:5])


@pytest.fixture(scope="module")
def curves() -> set[tuple[float, ...]]:
    """Of the recipes so far."""
    return set()


def test_every_recipe_is_another_one(runs: Runs, curves: set[tuple[float, ...]]) -> None:
    """Or the comparisons above would compare less than they seem to."""
    curve = tuple(losses(runs[1, 0][0].lines))
    assert curve not in curves
    curves.add(curve)
