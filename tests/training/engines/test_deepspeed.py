"""Tests that a checkpoint of any layout resumes bitwise at any other one, and training in bf16."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import deepspeed
import pytest
import torch
from deepspeed.utils import safe_get_full_optimizer_state
from transformers import BertConfig, BertModel

from mulan.config.recipe import Recipe
from mulan.distributed.batch_norm import RunningStatistics
from mulan.distributed.collectives import rank_and_world_size
from mulan.model.towers.text import TextTower
from mulan.runs.checkpoint import read_newest, write_checkpoint
from mulan.runs.state_parts import PartCopy
from mulan.tasks.task import task_of
from mulan.training.engines.deepspeed import DeepSpeedEngine
from mulan.training.engines.exact import build_engine
from mulan.training.state import Checkpoint, Progress, load_weights
from mulan.training.step import train_step
from tests.checkpoints import State, whole_state
from tests.processes import run_in_processes
from tests.training.same import differing
from tests.training.small import batches_of, small

pytestmark = pytest.mark.processes

STAGES = range(4)
KINDS = {
    "float32": ["optim.ema_decay=0.8"],
    "bf16": ["train.precision=bf16"],
    "plain": ["train.exact_sums=false"],
}
"""Settings of each kind of run."""
EXACT = ("float32", "bf16")
STEPS = 4


class Leg(NamedTuple):
    """A part of a run with the same workers and ZeRO stage."""

    name: str
    stage: int
    kind: str
    after: str = ""
    """The leg whose checkpoint is resumed; empty for none."""
    until: int = STEPS
    saved: int = 0
    """The step after which a checkpoint is written; 0 for none."""


class LegResult(NamedTuple):
    """The results of one process at the end of a leg."""

    lines: list[dict[str, float]]
    restored: bool
    """True if every restored tensor was bitwise equal to the checkpoint, or if there was no checkpoint."""
    saved: bool
    """True if every saved tensor was bitwise equal to the one that DeepSpeed gathers, or if none was saved."""
    state: State
    """The final state."""


def recipe(leg: Leg) -> Recipe:
    settings = ["optim.weight_decay=0.01", "optim.pretrained_lr_scale=0.5", "optim.max_grad_norm=0.5"]
    settings += [f"train.zero_stage={leg.stage}", *KINDS[leg.kind]]
    return small("m_resnet50", "batch.micro_batches=2", "batch.pairs_per_micro_batch=4", *settings)


def engine_after(found: Checkpoint | None, one: Recipe) -> DeepSpeedEngine:
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    bert = BertModel(BertConfig(**sizes, hidden_dropout_prob=0.1), add_pooling_layer=False)
    bert.embeddings.requires_grad_(False)
    model = task_of(one).build_model(TextTower(bert))
    if found:
        load_weights(model, found.state)
    engine = build_engine(model, one, device=torch.device("cpu"))
    if found:
        steps_done = found.progress.steps_done
        engine.restore_optimizer(found.state, steps_done, updates=steps_done)
    return engine


def gathered(engine: DeepSpeedEngine, stage: int) -> State:
    """Returns weights and moments as DeepSpeed gathers them, tensor by tensor. Collective."""
    whole: State = {}
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter] if stage == 3 else []):
            whole[f"weights.{name}"] = parameter.detach().clone()
        for moment in ("exp_avg", "exp_avg_sq") if parameter.requires_grad else ():
            if stage == 0:
                full = engine._engine.optimizer.state[parameter][moment]
            else:
                full = safe_get_full_optimizer_state(parameter, moment)
            whole[f"{moment}.{name}"] = full.detach().clone()
    return whole


def train_leg(leg: Leg, folder: str) -> LegResult:
    found = read_newest(f"{folder}/{leg.after}", on_corrupt=pytest.fail) if leg.after else None
    first_step = found.progress.steps_done if found else 0
    one, (rank, workers) = recipe(leg), rank_and_world_size()
    engine = engine_after(found, one)
    restored = not found or not differing(whole_state(engine), dict(found.state))
    statistics, lines, saved = RunningStatistics(engine.module), [], True
    share = one.batch.micro_batches // workers
    for step in range(first_step, leg.until):
        own = batches_of(one, step)[rank * share : (rank + 1) * share]
        lines.append(train_step(engine, own, statistics, task_of(one), one.train))
        if step + 1 == leg.saved:
            write_checkpoint(f"{folder}/{leg.name}", PartCopy(engine.own_state()), Progress(leg.saved))
            written = read_newest(f"{folder}/{leg.name}", on_corrupt=pytest.fail)
            reference = gathered(engine, leg.stage)
            saved = written is not None and not differing({n: written.state[n] for n in reference}, reference)
    return LegResult(lines, restored, saved, whole_state(engine))


def train_legs(legs: list[Leg], folder: str) -> dict[str, LegResult]:
    return {leg.name: train_leg(leg, folder) for leg in legs}


Runs = dict[str, list[LegResult]]


def layouts_of(name: str) -> list[str]:
    """Returns the layouts of a run's legs, each as WORKERSxSTAGE."""
    return name.split(" ")[1:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The results of all processes in the last leg, by kind and layouts: KIND WORKERSxSTAGE WORKERSxSTAGE and so on.

    There are few processes, since starting them takes longer than training.
    """
    folder = tmp_path_factory.mktemp("runs")
    found: Runs = {}

    def train(workers: int, legs: list[Leg]) -> list[str]:
        ranks = run_in_processes(train_legs, workers, legs, str(folder), folder=folder / "results")
        found.update({leg.name: [rank[leg.name] for rank in ranks] for leg in legs})
        return [leg.name for leg in legs]

    def begun(workers: int, kinds: Iterable[str], stages: Iterable[int] = STAGES) -> list[Leg]:
        return [Leg(f"{kind} {workers}x{stage}", stage, kind, saved=2) for kind in kinds for stage in stages]

    def resumed(workers: int, names: list[str], *, further: int, until: int = STEPS) -> list[Leg]:
        """Resumes each run at a ZeRO stage that is higher by ``further``, modulo the number of stages."""
        stages = {name: (int(name[-1]) + further) % len(STAGES) for name in names}
        return [
            Leg(f"{name} {workers}x{stage}", stage, name.split(" ")[0], name, until, saved=until)
            for name, stage in stages.items()
        ]

    two = train(2, begun(2, KINDS))
    first = [*begun(1, EXACT), *begun(1, ["plain"], stages=[0])]
    one = [leg.name for leg in first]
    fewer = resumed(1, two, further=1, until=3)
    train(1, [*first, *resumed(1, one, further=0), *fewer])
    train(
        2,
        [
            *resumed(2, two, further=0),
            *resumed(2, one, further=2),
            *resumed(2, [leg.name for leg in fewer], further=1),
        ],
    )
    return found


@pytest.mark.timeout(900)
def test_the_restored_state_is_bitwise_equal_to_the_saved_one(runs: Runs) -> None:
    """Checks weights, buffers, averages and both moments, at the same and at other numbers of workers and stages."""
    assert [name for name, ranks in runs.items() if not all(rank.restored for rank in ranks)] == []
    restarts = [name for name in runs if len(layouts_of(name)) > 1]
    assert {layouts_of(name)[-1] for name in restarts} == {
        f"{workers}x{stage}" for workers in (1, 2) for stage in STAGES
    }


def test_the_saved_state_is_bitwise_equal_to_the_one_that_deepspeed_gathers(runs: Runs) -> None:
    assert [name for name, ranks in runs.items() if not all(rank.saved for rank in ranks)] == []


def test_the_same_layout_resumes_bitwise(runs: Runs) -> None:
    same = [name for name in runs if len(layouts_of(name)) == 2 and len(set(layouts_of(name))) == 1]
    assert len(same) == len([name for name in runs if len(layouts_of(name)) == 1])
    for name in same:
        (undisturbed, *_), (resumed, *_) = runs[name.rpartition(" ")[0]], runs[name]
        assert resumed.lines == undisturbed.lines[2:], name
        assert differing(resumed.state, undisturbed.state) == [], name


def others(kind: str, runs: Runs) -> list[str]:
    """Returns the runs that changed from two workers to one and back, or from one to two, and the stage every time."""
    found = [name for name in runs if name.startswith(kind) and len(set(layouts_of(name))) > 1]
    assert {len(layouts_of(name)) for name in found} == {2, 3}
    return found


def first_step(name: str) -> int:
    return len(layouts_of(name))  # the second leg starts after 2 steps, the third after 3


@pytest.mark.parametrize("kind", EXACT)
def test_with_exact_sums_other_layouts_resume_bitwise(kind: str, runs: Runs) -> None:
    (alone,) = runs[f"{kind} 1x0"]
    for name in others(kind, runs):
        lines = alone.lines[first_step(name) :]
        for rank in runs[name]:
            assert rank.lines, name
            assert rank.lines == lines[: len(rank.lines)], name
        if len(runs[name][0].lines) == len(lines):
            assert differing(runs[name][0].state, alone.state) == [], name


def test_without_exact_sums_other_layouts_resume_with_similar_losses(runs: Runs) -> None:
    (alone,) = runs["plain 1x0"]
    for name in others("plain", runs):
        ours = runs[name][0].lines
        assert ours, name
        for line, reference in zip(ours, alone.lines[first_step(name) :], strict=False):
            assert line["loss"] == pytest.approx(reference["loss"], rel=1e-4), name


def engine_in_empty_cache(folder: str) -> list[str]:
    os.environ["TORCH_EXTENSIONS_DIR"] = folder
    engine_after(None, recipe(Leg("", stage=2, kind="float32")))
    return os.listdir(folder)


def test_no_extension_is_compiled(tmp_path: Path) -> None:
    assert run_in_processes(engine_in_empty_cache, 1, str(tmp_path), folder=tmp_path / "out") == [["out"]]


def test_trained_weights_have_an_average_if_the_recipe_asks_for_it(runs: Runs) -> None:
    for kind in KINDS:
        state = runs[f"{kind} 1x0"][0].state
        trained = {name.removeprefix("exp_avg.") for name in state if name.startswith("exp_avg.")}
        found = {name.removeprefix("ema.") for name in state if name.startswith("ema.")}
        assert found == (trained if kind == "float32" else set())
        for name in found:
            assert not torch.equal(state[f"ema.{name}"], state[f"weights.{name}"]), name
