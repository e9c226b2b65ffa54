"""Tests that the PyTorch engine and the DeepSpeed engines train the same model."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch

from mulan.config.recipe import Recipe
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.collectives import rank_and_world_size
from mulan.tasks.task import task_of
from mulan.training.engines.deepspeed import DeepSpeedEngine
from mulan.training.engines.exact import build_engine
from mulan.training.engines.torch import TorchEngine
from mulan.training.step import train_step
from tests.checkpoints import whole_state
from tests.processes import run_in_processes
from tests.training.same import differing, digests
from tests.training.small import batches_of, small, torch_engine

pytestmark = pytest.mark.processes
STEPS = 3
WORKERS = (1, 2)


class Trained(NamedTuple):
    """The results of an engine in one process."""

    lines: list[dict[str, float]]
    weights: dict[str, str]
    """Digests of weights and buffers."""
    validated: dict[str, str]
    """Digests of weights and buffers in evaluation mode, in which weights are averages."""


def train(engine: TorchEngine | DeepSpeedEngine, recipe: Recipe) -> list[dict[str, float]]:
    rank, workers = rank_and_world_size()
    share = recipe.batch.micro_batches // workers
    statistics = RunningStatistics(engine.module)
    lines = []
    for step in range(STEPS):
        own = batches_of(recipe, step)[rank * share : (rank + 1) * share]
        lines.append(train_step(engine, own, statistics, task_of(recipe), recipe.train))
    return lines


def in_plain_torch(recipe: Recipe) -> Trained:
    engine = torch_engine(recipe)
    lines = train(engine, recipe)

    def weights() -> dict[str, str]:
        return digests({f"weights.{name}": t.detach() for name, t in engine.module.state_dict().items()})

    return Trained(lines, *before_and_in_validation(engine, weights))


def in_deepspeed(recipe: Recipe) -> Trained:
    torch.manual_seed(recipe.train.seed)
    engine = build_engine(task_of(recipe).build_model(), recipe, device=torch.device("cpu"))
    lines = train(engine, recipe)

    def weights() -> dict[str, str]:
        return digests({name: tensor for name, tensor in whole_state(engine).items() if name.startswith("weights.")})

    return Trained(lines, *before_and_in_validation(engine, weights))


def before_and_in_validation(
    engine: TorchEngine | DeepSpeedEngine, weights: Callable[[], dict[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the digests of weights in training mode, and in evaluation mode; then returns to training mode."""
    before = weights()
    engine.evaluation_mode(True)
    validated = weights()
    engine.evaluation_mode(False)
    assert weights() == before
    return before, validated


def in_both(recipes: dict[str, Recipe]) -> dict[str, tuple[Trained, Trained]]:
    torch.set_num_threads(1)
    return {name: (in_plain_torch(recipe), in_deepspeed(recipe)) for name, recipe in recipes.items()}


Both = dict[str, list[list[tuple[Trained, Trained]]]]
"""Results of all processes with the PyTorch and DeepSpeed engines, by number of workers and name."""


@pytest.fixture(scope="module")
def both(narrow_bert: str, tmp_path_factory: pytest.TempPathFactory) -> Both:
    settings = ["text_tower.layers=2", "text_tower.frozen_layers=1", "optim.weight_decay=0.01"]
    settings += [
        "optim.ema_decay=0.6",
        "optim.max_grad_norm=0.5",
        "optim.pretrained_lr_scale=0.3",
        f"text_tower.pretrained={narrow_bert}",
    ]
    recipes = {f"exact {stage}": small("m_ast", *settings, f"train.zero_stage={stage}") for stage in range(4)}
    recipes["exact tagging"] = small("m_resnet50_audioset", "train.zero_stage=1")
    recipes["exact mulap"] = small("mulap", *settings, "train.zero_stage=3")
    recipes["exact semisupcon"] = small("semisupcon", "train.zero_stage=3")
    plain = {f"plain {stage}": ["train.exact_sums=false", f"train.zero_stage={stage}"] for stage in range(4)}
    sums = {"exact": ["train.zero_stage=2"], **plain}
    for kind, clipping in {"unclipped": 0, "below the limit": 1e9}.items():
        sums |= {f"{kind} {name}": [*sums[name], f"optim.max_grad_norm={clipping}"] for name in ("exact", *plain)}
    recipes |= {name: small("m_resnet50_audioset", *settings) for name, settings in sums.items()}
    results = [run_in_processes(in_both, n, recipes, folder=tmp_path_factory.mktemp("out")) for n in WORKERS]
    return {name: [[rank[name] for rank in ranks] for ranks in results] for name in recipes}


def test_with_exact_sums_both_engines_are_bitwise_equal(both: Both) -> None:
    """Compares all ZeRO stages, on one and on two workers."""
    for name, groups in both.items():
        if name.startswith("exact"):
            reference = groups[0][0][0]
            for found in (found for ranks in groups for rank in ranks for found in rank):
                assert found.lines == reference.lines, name
                assert differing(found.weights, reference.weights) == [], name
                assert differing(found.validated, reference.validated) == [], name
    assert both["exact 0"][0][0][0].lines[0]["grad_norm"] > 0.5  # the gradient was clipped


def test_without_exact_sums_both_engines_train_similar_models(both: Both) -> None:
    """Only a few steps are similar, since rounding errors grow from step to step."""
    reference = both["exact tagging"][0][0][0].lines
    for name, groups in both.items():
        for found in (found for ranks in groups for rank in ranks for found in rank):
            if name.startswith("plain"):
                for line, other in zip(found.lines, reference, strict=True):
                    assert line["loss"] == pytest.approx(other["loss"], rel=1e-4), name
                assert found.lines[0]["grad_norm"] == pytest.approx(reference[0]["grad_norm"], rel=1e-5)


@pytest.mark.parametrize("name", ["exact", *(f"plain {stage}" for stage in range(4))])
def test_a_maximum_norm_of_0_leaves_gradients_as_they_are(name: str, both: Both) -> None:
    assert both[f"unclipped {name}"] == both[f"below the limit {name}"]


@pytest.mark.parametrize("stage", range(4))
def test_without_exact_sums_the_bits_depend_on_the_number_of_workers(stage: int, both: Both) -> None:
    """Otherwise the bitwise comparisons, here and in other tests, could not fail."""
    one, two = both[f"plain {stage}"]
    for engine in range(2):
        assert one[0][engine].lines[0]["loss"] == two[0][engine].lines[0]["loss"]
        assert differing(one[0][engine].weights, two[0][engine].weights) != []
