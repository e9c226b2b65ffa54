"""Tests that steps with nonfinite numbers are skipped and reported, and that resumed runs keep the counts."""

import json
import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from mulan.config.errors import MulanError
from mulan.config.objectives import collapsed_losses
from mulan.config.recipe import Recipe
from mulan.data.randomness import torch_seed
from mulan.data.reader import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.distributed.collectives import rank_and_world_size
from mulan.model.joint import JointModel
from mulan.model.towers.text import TextTower
from mulan.recipes.registry import load_recipe
from mulan.tasks.joint import JointTask
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.health import MAX_ANOMALIES, Anomaly, HealthWatch
from mulan.training.state import Progress
from mulan.training.step import train_step
from tests.checkpoints import whole_state
from tests.processes import run_in_processes
from tests.training.inline import InlineObserver, train_inline

MICRO_BATCHES = 2


def recipe(uri: str, bert: str, *settings: str) -> Recipe:
    common = [f"batch.micro_batches={MICRO_BATCHES}", "batch.pairs_per_micro_batch=6", "scale.workers=1"]
    common += [f"text_tower.pretrained={bert}", "text_tower.layers=2", "text_tower.frozen_layers=1"]
    common += ["train.validation_micro_batches=0"]
    return load_recipe("demo_miniature", [*common, *settings], data_uri=uri)


def forwards_of(places: Iterable[tuple[int, int]]) -> set[int]:
    """Returns the seeds of the forward passes of these (step, micro-batch) pairs; steps are counted from 1."""
    return {torch_seed(seed=0, purpose="forward", key=(step - 1, number)) for step, number in places}


def with_faults(recipe: Recipe, places: list[tuple[int, int, str]]) -> JointModel:
    """Returns a model with faults at these (step, micro-batch, kind) triples.

    ``nan`` and ``inf`` replace inputs of the audio tower, which affects the running statistics as well. ``steep`` and
    ``large`` add a zero to the embeddings whose slope is infinite, or finite and too large for the sums.
    """
    model = JointTask(recipe).build_model()
    kinds = {seed: kind for *place, kind in places for seed in forwards_of([(place[0], place[1])])}

    def spoil(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        kind = kinds.get(torch.initial_seed())
        if kind not in ("nan", "inf"):
            return arguments
        return (arguments[0].index_fill(0, torch.tensor([2]), float(kind)), *arguments[1:])

    def slope(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        zero = output - output.detach()
        added = {"steep": zero.sqrt(), "large": zero * 1e8}
        kind = kinds.get(torch.initial_seed())
        return output + added[kind] if kind in added else output

    model.audio_encoder.tower.register_forward_pre_hook(spoil)  # type: ignore[union-attr]
    model.audio_projection.register_forward_hook(slope)  # type: ignore[union-attr]
    return model


def collapsing(recipe: Recipe, steps: list[int]) -> JointModel:
    """Returns a model whose embeddings are identical in these steps."""
    model = JointTask(recipe).build_model()
    seeds = forwards_of((step, number) for step in steps for number in range(MICRO_BATCHES))

    def flatten(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output * 0 + 1 if torch.initial_seed() in seeds else output

    for projection in (model.audio_projection, model.text_projection):
        projection.register_forward_hook(flatten)  # type: ignore[union-attr]
    return model


class Trained:
    """The results of one process: lines of metrics, the state after each step, anomalies, and the final error."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.norms: list[float] = []
        """Gradient norms of this process; the lines contain those of the first one."""
        self.states: dict[int, dict[str, torch.Tensor]] = {}
        self.anomalies: list[Anomaly] = []
        self.error: MulanError | None = None


class RecordingObserver(InlineObserver):
    """Records what it observes in a result."""

    def __init__(self, result: Trained, run_uri: str, engine: CheckpointedEngine, steps: int) -> None:
        super().__init__(run_uri, engine, steps)
        self.result = result

    def on_step(self, metrics: dict[str, Any]) -> None:
        self.result.lines.append(metrics)
        state = whole_state(self.engine)
        if rank_and_world_size()[0] == 0:
            self.result.states[metrics["step"]] = state

    def on_anomaly(self, anomaly: Anomaly) -> str:
        self.result.anomalies.append(anomaly)
        return f"Reported {anomaly.step}. "


class FaultyTask(JointTask):
    """Trains a model with faults."""

    def __init__(self, recipe: Recipe, build: Callable[[Recipe], JointModel]) -> None:
        super().__init__(recipe)
        self._build = build

    def build_model(self, text_tower: TextTower | None = None) -> JointModel:
        return self._build(self._recipe)


def trained(one: Recipe, build: Callable[[Recipe], JointModel], run_uri: str) -> Trained:
    result = Trained()

    def step(*arguments: Any) -> dict[str, float]:
        measured = train_step(*arguments)
        result.norms.append(measured["grad_norm"])
        return measured

    with patch("mulan.training.loop.train_step", step):
        try:
            train_inline(one, run_uri, partial(RecordingObserver, result), FaultyTask(one, build))
        except MulanError as error:
            result.error = error
    dist.barrier()  # the checkpoint has been written before anyone resumes
    return result


class ModelBuilder:
    """A picklable function that builds a model with faults."""

    def __init__(self, build: Callable[[Recipe, Any], JointModel], places: list[Any]) -> None:
        self._build, self._places = build, places

    def __call__(self, recipe: Recipe) -> JointModel:
        return self._build(recipe, self._places)


def train_all(runs: list[tuple[str, Recipe, ModelBuilder]], folder: str) -> list[Trained]:
    """Trains the runs one after another in one process group; a repeated name resumes its run."""
    return [trained(one, build, f"{folder}/{name}") for name, one, build in runs]


FAULTS = {1: "large", 3: "steep", 5: "nan", 6: "inf"}
"""Kind of fault by step, each in the micro-batch of the second worker if there are two."""
FAULTY = ModelBuilder(with_faults, [(step, 1, kind) for step, kind in FAULTS.items()])
STEPS = 7
LEGS = [("whole", STEPS), ("parts", 1), ("parts", 6), ("parts", STEPS)]
"""Names of runs and their last steps. The ZeRO stage of each leg is one higher than that of the previous, modulo 4."""
RUNS = [(1, 0), *((2, stage) for stage in range(4))]
"""Number of workers, and ZeRO stage of the first leg."""


@pytest.fixture(scope="module")
def skipping(tiny_corpus: str, narrow_bert: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Trained]]:
    """Runs with skipped steps, uninterrupted and resumed after such steps; the results of all processes."""
    results: dict[str, list[Trained]] = {}
    for workers in (1, 2):
        runs = []
        for first in (stage for count, stage in RUNS if count == workers):
            for further, (name, steps) in enumerate(LEGS):
                settings = [f"train.zero_stage={(first + further) % 4}", "health.non_finite=warn"]
                settings += ["optim.ema_decay=0.5"]
                one = recipe(tiny_corpus, narrow_bert, *settings, f"train.steps={steps}")
                runs.append((f"{name} {workers} {first}", one, FAULTY))
        runs.append((f"stop {workers}", recipe(tiny_corpus, narrow_bert), FAULTY))
        folder = tmp_path_factory.mktemp("runs")
        ranks = run_in_processes(train_all, workers, runs, str(folder), folder=tmp_path_factory.mktemp("results"))
        for number, (name, *_) in enumerate(runs):
            results[name] = [rank[number] for rank in ranks]  # of resumed runs, the last leg
    return results


@pytest.mark.processes
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("workers", "stage"), RUNS)
def test_a_nonfinite_step_on_one_worker_is_skipped_on_all(
    workers: int, stage: int, skipping: dict[str, list[Trained]]
) -> None:
    ranks, alone = skipping[f"whole {workers} {stage}"], skipping["whole 1 0"][0]
    for rank in ranks:
        assert [line["step"] for line in rank.lines] == list(range(1, STEPS + 1))
        assert [step for step, norm in enumerate(rank.norms, start=1) if math.isnan(norm)] == list(FAULTS)
        assert all(map(math.isfinite, (rank.norms[step - 1] for step in (2, 4, 7))))
        assert [line["step"] for line in rank.lines if line["loss"] is None] == [5, 6]
        assert [one.step for one in rank.anomalies] == list(FAULTS)
        for name in ("loss", "grad_norm"):
            assert [line[name] for line in rank.lines] == [line[name] for line in alone.lines]
    states = ranks[0].states
    for step in range(2, STEPS + 1):
        assert (differing(states[step], states[step - 1]) == []) == (step in FAULTS), step
    assert not any(tensor.any() for name, tensor in states[1].items() if name.startswith("exp_avg"))
    assert differing(states[STEPS], alone.states[STEPS]) == []


@pytest.mark.processes
@pytest.mark.parametrize(("workers", "stage"), RUNS)
def test_a_run_that_skipped_updates_resumes_bitwise(
    workers: int, stage: int, skipping: dict[str, list[Trained]]
) -> None:
    """Every leg has another ZeRO stage. Adam's bias correction depends on the number of updates, not of steps."""
    whole, resumed = (skipping[f"{name} {workers} {stage}"][0] for name in ("whole", "parts"))
    assert [line["loss"] for line in resumed.lines] == [whole.lines[STEPS - 1]["loss"]]
    assert resumed.norms == whole.norms[STEPS - 1 :]
    assert differing(resumed.states[STEPS], whole.states[STEPS]) == []


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_all_workers_stop_with_the_same_message(
    workers: int, tiny_corpus: str, narrow_bert: str, skipping: dict[str, list[Trained]]
) -> None:
    make = MicroBatchReader.from_recipe(recipe(tiny_corpus, narrow_bert))
    expected = [make(Item(Phase.TRAIN, 0, number)).recording_id for number in range(MICRO_BATCHES)]
    told = set()
    for rank in skipping[f"stop {workers}"]:
        assert rank.lines == []
        told.add(str(rank.error))
        (anomaly,) = rank.anomalies
        assert anomaly.recordings == expected
        assert not math.isfinite(anomaly.measured["grad_norm"])
    (words,) = told
    assert words.startswith("the gradient norm of step 1 is nan: in the gradient of a micro-batch there is NaN, ")
    assert "; the weights are those of step 0. Reported 1. " in words
    assert "--set health.non_finite=warn" in words


def differing(state: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Returns the names of tensors that differ."""
    assert state.keys() == other.keys()
    return [name for name, tensor in state.items() if not torch.equal(tensor, other[name])]


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_collapse_is_counted_after_the_warm_up_from_the_last_good_step_on(
    workers: int, tiny_corpus: str, narrow_bert: str, tmp_path: Path
) -> None:
    flat = ModelBuilder(collapsing, [1, 2, 3, 5, 6, 7, 8])
    settings = ["optim.warmup_steps=1", "health.collapse_steps=3", "train.steps=8"]
    whole = recipe(tiny_corpus, narrow_bert, *settings)
    half = recipe(tiny_corpus, narrow_bert, *settings, "train.steps=6")
    stopping = recipe(tiny_corpus, narrow_bert, *settings, "health.collapse=stop")
    runs = [("whole", whole, flat), ("parts", half, flat), ("parts", whole, flat), ("stop", stopping, flat)]
    for rank in run_in_processes(train_all, workers, runs, str(tmp_path / "runs"), folder=tmp_path / "out"):
        once, before, after, stopped = rank
        near = [abs(line["loss_contrastive"] / math.log(22) - 1) < 0.01 for line in once.lines]
        assert near == [True, True, True, False, True, True, True, True]
        assert [one.step for one in once.anomalies] == [7]
        assert (before.anomalies, [one.step for one in after.anomalies]) == ([], [7])
        assert [line["step"] for line in stopped.lines] == [1, 2, 3, 4, 5, 6]
        assert "embeddings seem to be all the same: in the 3 steps up to 7" in str(stopped.error)
        assert "Reported 7. " in str(stopped.error)


def checked(steps: Iterable[dict[str, float]], *settings: str) -> tuple[list[Anomaly], HealthWatch]:
    """Returns the anomalies of steps with these measurements, from the first step on."""
    anomalies: list[Anomaly] = []

    def on_anomaly(anomaly: Anomaly) -> str:
        anomalies.append(anomaly)
        return ""

    one = load_recipe("demo_miniature", ["health.non_finite=warn", *settings], data_uri="/nowhere")
    watch = HealthWatch(
        one.health,
        one.batch,
        Progress(0),
        on_anomaly,
        collapsed=collapsed_losses(one.loss, one.batch.pairs),
        exact_sums=one.train.exact_sums,
        warmup_steps=one.optim.warmup_steps,
    )
    for number, measured in enumerate(steps):
        watch.check(number + 1, {"grad_norm": 1.0, **measured}, lambda: [("a", "b"), ("c",)])
    return anomalies, watch


def test_only_the_contrastive_terms_can_collapse() -> None:
    flat, of_clip = math.log(30), math.log(16)
    settings = ("health.collapse_steps=2", "optim.warmup_steps=0")
    assert len(checked([{"loss": 9.0, "loss_contrastive": flat * 0.991}] * 5, *settings)[0]) == 1
    assert checked([{"loss": 9.0, "loss_contrastive": flat * 0.989}] * 5, *settings)[0] == []
    assert checked([{"loss": flat, "loss_semisupcon": flat}] * 5, *settings)[0] == []
    both = {"loss": 9.0, "loss_contrastive": flat, "loss_clip": of_clip * 1.009}
    ((found,), _) = checked([both] * 5, *settings, "loss.weights.clip=1")
    assert found.message.endswith(
        "up to 2 the contrastive loss was within 1% of 3.401 and the clip loss was within 1% of 2.773"
    )
    assert checked([both | {"loss_clip": of_clip * 1.011}] * 5, *settings, "loss.weights.clip=1")[0] == []
    assert checked([both] * 5, *settings, "loss.mask_equal_texts=true")[0] == []
    of_siglip = ("loss.weights.contrastive=0", "loss.weights.siglip=1")
    assert checked([{"loss": flat, "loss_siglip": flat}] * 5, *settings, *of_siglip)[0] == []


def test_only_the_first_anomalies_are_recorded() -> None:
    anomalies, watch = checked([{"loss": math.nan, "grad_norm": math.inf}] * 50)
    assert [one.step for one in anomalies] == list(range(1, MAX_ANOMALIES + 1))
    assert [one.message.endswith("further anomalies are not recorded") for one in anomalies] == [False] * 19 + [True]
    assert watch.counts() == {"updates_skipped": 50, "collapsed_steps": 0, "anomalies": MAX_ANOMALIES}


@pytest.mark.parametrize(("micro_batches", "room"), [(1, "16384"), (512, "32")])
def test_a_nonfinite_gradient_norm_is_reported_with_possible_causes(micro_batches: int, room: str) -> None:
    settings = (f"batch.micro_batches={micro_batches}", "train.validation_micro_batches=0", "scale.workers=1")
    step = {"loss": 1.0, "grad_norm": math.nan}
    (exact,), _ = checked([step], *settings)
    assert exact.message.startswith("the gradient norm of step 1 is nan: in the gradient of a micro-batch there is ")
    assert f" NaN, infinity, or a number of {room} or more, for which train.exact_sums has no room" in exact.message
    assert "train.exact_sums=false" in exact.message
    assert exact.message.endswith("; its update is skipped")
    (plain,), _ = checked([step], *settings, "train.exact_sums=false")
    assert plain.message == "the gradient norm of step 1 is nan; its update is skipped"


def test_an_anomaly_is_written_as_json() -> None:
    anomalies, _ = checked([{"loss": math.nan, "grad_norm": math.inf, "temperature": 0.5}])
    assert json.loads(anomalies[0].to_json()) == {
        "step": 1,
        "message": "the loss of step 1 is nan; its update is skipped",
        "measured": {"grad_norm": "inf", "loss": "nan", "temperature": 0.5},
        "recordings": [["a", "b"], ["c"]],
    }
