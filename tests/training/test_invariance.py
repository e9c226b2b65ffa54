"""Tests that a run resumed with other workers and ZeRO stages is bitwise equal to an uninterrupted one."""

from typing import Any, NamedTuple

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.distributed.collectives import rank_and_world_size
from mulan.recipes.registry import load_recipe
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.training.same import differing, digests, losses, measured

pytestmark = pytest.mark.processes


def recipe(uri: str, *settings: str) -> Recipe:
    common = ["train.steps=6", "train.checkpoint_every_steps=6", "batch.micro_batches=4", "scale.workers=1"]
    common += ["batch.pairs_per_micro_batch=6", "train.validation_micro_batches=4"]
    common += ["text_tower.layers=2", "text_tower.frozen_layers=1"]
    return load_recipe("demo_miniature", [*common, *settings], data_uri=uri)


class Trained(NamedTuple):
    """The results of one process at the end of a run."""

    lines: list[dict[str, Any]]
    """Lines of metrics, without times."""
    digests: dict[str, str]
    """Digests of the final state."""
    state: dict[str, torch.Tensor]
    """The final state, in the first process only."""


def trained(one: Recipe, run_uri: str) -> Trained:
    lines, state = train_inline(one, run_uri)
    return Trained(measured(lines), digests(state), state if rank_and_world_size()[0] == 0 else {})


def train_all(recipes: dict[str, Recipe], folder: str) -> dict[str, Trained]:
    """Trains several recipes one after another in one process group."""
    return {name: trained(one, f"{folder}/{name}") for name, one in recipes.items()}


Runs = dict[str, list[list[Trained]]]
"""Results by name, for each start of the run and each process."""

HALF = ["train.steps=3"]
STAGE = [[f"train.zero_stage={stage}"] for stage in range(4)]
WHOLE = ["text_tower.layers=1", "text_tower.frozen_layers=0"]
BF16 = ["train.precision=bf16", "text_tower.length_groups=2"]


@pytest.fixture(scope="module")
def runs(tiny_corpus: str, narrow_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All runs that are compared here, in few processes, since starting them takes longer than training."""
    narrow = [f"text_tower.pretrained={narrow_bert}", "optim.ema_decay=0.7"]
    narrow += ["optim.schedule=cosine", "optim.decay_until_step=6"]
    folder = str(tmp_path_factory.mktemp("runs"))
    found: Runs = {}

    def train(workers: int, runs: dict[str, list[str]]) -> None:
        recipes = {name: recipe(tiny_corpus, *settings) for name, settings in runs.items()}
        ranks = run_in_processes(train_all, workers, recipes, folder, folder=tmp_path_factory.mktemp("results"))
        for name in recipes:
            found.setdefault(name, []).append([rank[name] for rank in ranks])

    half = [*narrow, *HALF]
    train(
        1,
        {"alone": narrow, "grown": half, "sharded": half, "as before": half, "float32": WHOLE, "bf16": BF16},
    )
    train(
        2,
        {
            "grown": [*narrow, *STAGE[3]],
            "sharded": [*narrow, *STAGE[2]],
            "shrunk": [*half, *STAGE[1]],
            "float32 on 2": [*WHOLE, *STAGE[2]],
            "bf16 on 2": [*BF16, *STAGE[3]],
        },
    )
    train(1, {"shrunk": narrow, "as before": narrow})
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["grown", "sharded", "shrunk", "as before"])
def test_a_run_resumed_by_any_workers_at_any_stage_is_bitwise_equal(name: str, runs: Runs) -> None:
    """From one worker at stage 0 to two at stages 3 and 2, from two at stage 1 to one at stage 0, and unchanged."""
    begun, resumed = runs[name]
    ((alone,),) = runs["alone"]
    for rank in resumed:
        assert begun[0].lines + rank.lines == alone.lines
        assert [line["step"] for line in rank.lines] == [4, 5, 6]
        assert differing(rank.digests, alone.digests) == []


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_demo_s_text_tower_and_bf16_train_the_same_on_two_workers(precision: str, runs: Runs) -> None:
    """In bf16, equal micro-batches are rounded equally on any worker."""
    ((alone,),) = runs[precision]
    (ranks,) = runs[f"{precision} on 2"]
    assert [line["step"] for line in alone.lines if "validation" in line] != []
    for ours in ranks:
        assert ours.lines == alone.lines
        assert differing(ours.digests, alone.digests) == []
    tensors = ranks[0].state.items()
    assert all(tensor.dtype == torch.float32 for name, tensor in tensors if not name.endswith("_tracked"))


def test_precision_and_text_matter(runs: Runs) -> None:
    """Otherwise the comparisons above would be meaningless."""
    curves = {name: tuple(losses(runs[name][0][0].lines)) for name in ("alone", "float32", "bf16")}
    assert len(set(curves.values())) == len(curves)


def test_frozen_layers_have_no_moments(runs: Runs) -> None:
    def has(name: str, prefix: str) -> bool:
        return any(key.startswith(f"exp_avg.text_tower.encoder.{prefix}") for key in runs[name][0][0].state)

    assert has("float32 on 2", "embeddings")
    assert not has("bf16 on 2", "embeddings")
    assert not has("bf16 on 2", "encoder.layer.0")
    assert has("bf16 on 2", "encoder.layer.1")
