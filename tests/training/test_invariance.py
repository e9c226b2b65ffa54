"""Promises: a resumed run is the run, on other workers and at another ZeRO stage; bf16 and kinks lose the same."""

import hashlib
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save

from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.objectives.collectives import world
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.training.same import (
    assert_same_norms,
    assert_same_state,
    assert_same_validations,
    losses,
    without_kinks,
)

pytestmark = pytest.mark.processes


def recipe(uri: str, *settings: str) -> Recipe:
    common = ["train.steps=6", "train.checkpoint_every_steps=6", "batch.micro_batches=4", "scale.workers=1"]
    common += ["batch.pairs_per_micro_batch=6", "train.validation_micro_batches=4"]
    common += ["text_tower.layers=2", "text_tower.frozen_layers=1"]
    common += ["optim.epsilon=1e-5"]  # above the rounding of gradients, of which Adam would make whole steps
    return load_recipe("demo_miniature", named_recipes(), [*common, *settings], data_uri=uri)


class Trained(NamedTuple):
    """What one process has at the end of a run."""

    lines: list[dict[str, Any]]
    """Of metrics."""
    digest: str
    """Of the final state."""
    state: dict[str, torch.Tensor]
    """Itself, in the first process only."""


def trained(one: Recipe, run_uri: str) -> Trained:
    lines, state = train_inline(one, run_uri)
    return Trained(lines, hashlib.sha256(save(state)).hexdigest(), state if world()[0] == 0 else {})


def train_all(smooth: dict[str, Recipe], as_they_are: dict[str, Recipe], folder: str) -> dict[str, Trained]:
    """Several runs, one after another, in one process group; the first ones without kinks."""
    with patch("mulan.training.worker.build_model", without_kinks):
        ended = {name: trained(one, f"{folder}/{name}") for name, one in smooth.items()}
    return ended | {name: trained(one, f"{folder}/{name}") for name, one in as_they_are.items()}


Runs = dict[str, list[list[Trained]]]
"""By name: for each time that the run was begun or resumed, what every process has."""

HALF = ["train.steps=3"]
STAGE = [[f"train.zero_stage={stage}"] for stage in range(4)]
WHOLE = ["text_tower.layers=1", "text_tower.frozen_layers=0"]
BF16 = ["train.precision=bf16", "text_tower.length_groups=2"]


@pytest.fixture(scope="module")
def runs(tiny_corpus: str, narrow_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All the runs that are compared here, in few processes: these take longer to start than to train."""
    narrow = [f"text_tower.pretrained={narrow_bert}"]
    folder = str(tmp_path_factory.mktemp("runs"))
    found: Runs = {}

    def train(workers: int, smooth: dict[str, list[str]], as_they_are: dict[str, list[str]] | None = None) -> None:
        recipes = [
            {name: recipe(tiny_corpus, *narrow, *settings) for name, settings in smooth.items()},
            {name: recipe(tiny_corpus, *settings) for name, settings in (as_they_are or {}).items()},
        ]
        ranks = run_in_processes(train_all, workers, *recipes, folder, folder=tmp_path_factory.mktemp("results"))
        for name in ranks[0]:
            found.setdefault(name, []).append([rank[name] for rank in ranks])

    train(1, {"alone": [], "grown": HALF, "sharded": HALF, "as before": HALF}, {"float32": WHOLE, "bf16": BF16})
    train(
        2,
        {"grown": STAGE[3], "sharded": STAGE[2], "shrunk": [*HALF, *STAGE[1]]},
        {"float32 on 2": [*WHOLE, *STAGE[2]], "bf16 on 2": [*BF16, *STAGE[3]]},
    )
    train(1, {"shrunk": [], "as before": []})
    return found


def assert_same_result(lines: list[dict[str, Any]], state: dict[str, torch.Tensor], reference: Trained) -> None:
    assert [line["step"] for line in lines] == [line["step"] for line in reference.lines]
    assert losses(lines) == pytest.approx(losses(reference.lines), rel=1e-5)
    assert_same_norms(lines, reference.lines)
    assert_same_validations(lines, reference.lines)
    assert_same_state(state, reference.state)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["grown", "sharded", "shrunk"])
def test_a_run_resumed_by_other_workers_at_another_stage_is_the_run(name: str, runs: Runs) -> None:
    """From one worker at stage 0 to two at stages 3 and 2, and from two at stage 1 to one at stage 0."""
    begun, resumed = runs[name]
    assert [line["step"] for line in resumed[0].lines] == [4, 5, 6]
    assert_same_result(begun[0].lines + resumed[0].lines, resumed[0].state, runs["alone"][0][0])


def test_resuming_with_the_same_workers_is_exact(runs: Runs) -> None:
    begun, resumed = runs["as before"]
    ((alone,),) = runs["alone"]
    assert losses(begun[0].lines + resumed[0].lines) == losses(alone.lines)
    for name, tensor in resumed[0].state.items():
        assert torch.equal(tensor, alone.state[name]), name


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bf16", 1e-3)])
def test_recipes_as_they_are_lose_the_same_on_two_workers(precision: str, tolerance: float, runs: Runs) -> None:
    """ReLU and all; and bf16, where the same micro-batches give the same roundings wherever they run."""
    ((alone,),) = runs[precision]
    ((ours, _),) = runs[f"{precision} on 2"]
    assert losses(ours.lines) == pytest.approx(losses(alone.lines), rel=tolerance)
    assert all(tensor.dtype == torch.float32 for name, tensor in ours.state.items() if not name.endswith("_tracked"))


def test_precision_and_kinks_matter(runs: Runs) -> None:
    """Or the comparisons above would compare nothing."""
    found = {name: tuple(losses(runs[name][0][0].lines)) for name in ("alone", "float32", "bf16")}
    assert len(set(found.values())) == len(found)


def test_frozen_layers_have_no_moments(runs: Runs) -> None:
    def has(name: str, prefix: str) -> bool:
        return any(key.startswith(f"exp_avg.text_tower.encoder.{prefix}") for key in runs[name][0][0].state)

    assert has("float32 on 2", "embeddings")
    assert not has("bf16 on 2", "embeddings")
    assert not has("bf16 on 2", "encoder.layer.0")
    assert has("bf16 on 2", "encoder.layer.1")
