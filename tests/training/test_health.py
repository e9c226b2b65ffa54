"""Numbers that go wrong: no worker updates by them, everyone is told, and the run goes on as if it never stopped."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe, load_recipe
from mulan.config.recipes import named_recipes
from mulan.data.draws import torch_seed
from mulan.data.examples import MicroBatchReader
from mulan.data.schedule import Item, Phase
from mulan.model.build import Model
from mulan.objectives.collectives import world
from mulan.objectives.contrastive import contrastive_loss
from mulan.training.checkpoint import Progress
from mulan.training.engine import CheckpointedEngine
from mulan.training.findings import Finding
from mulan.training.health import MOST_TOLD, HealthWatch, collapsed_loss
from tests.processes import run_in_processes
from tests.training.inline import train_inline
from tests.training.same import assert_same_state, without_kinks

MICRO_BATCHES = 2


def recipe(uri: str, bert: str, *settings: str) -> Recipe:
    common = [f"batch.micro_batches={MICRO_BATCHES}", "batch.pairs_per_micro_batch=6", "scale.workers=1"]
    common += [f"text_tower.pretrained={bert}", "text_tower.layers=2", "text_tower.frozen_layers=1"]
    common += ["train.validation_micro_batches=0", "optim.epsilon=1e-5"]
    return load_recipe("demo_miniature", named_recipes(), [*common, *settings], data_uri=uri)


def forwards_of(places: Iterable[tuple[int, int]]) -> set[int]:
    """What the generator is seeded with at the forwards of these steps, from 1, and micro-batches."""
    return {torch_seed(seed=0, purpose="forward", key=(step - 1, number)) for step, number in places}


def with_steep_places(recipe: Recipe, places: list[tuple[int, int]]) -> Model:
    """A model that adds a root of 0 to its embeddings there, of which the value is 0 and the slope infinite."""
    model, seeds = without_kinks(recipe), forwards_of(places)

    def add_root(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        steep = torch.initial_seed() in seeds
        return output + (output - output.detach()).sqrt() if steep else output

    model.audio_projection.register_forward_hook(add_root)  # type: ignore[union-attr]
    return model


def collapsing(recipe: Recipe, steps: list[int]) -> Model:
    """A model whose embeddings are all the same in these steps."""
    model = without_kinks(recipe)
    seeds = forwards_of((step, number) for step in steps for number in range(MICRO_BATCHES))

    def flatten(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        return output * 0 + 1 if torch.initial_seed() in seeds else output

    for projection in (model.audio_projection, model.text_projection):
        projection.register_forward_hook(flatten)  # type: ignore[union-attr]
    return model


class Trained:
    """What one process has of a run: lines of metrics, whole states after each step, findings, and why it stopped."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.states: dict[int, dict[str, torch.Tensor]] = {}
        self.found: list[Finding] = []
        self.error: MulanError | None = None

    def watch(self, engine: CheckpointedEngine, line: dict[str, Any]) -> None:
        self.lines.append(line)
        state = engine.state()
        if world()[0] == 0:
            self.states[line["step"]] = state

    def tell(self, finding: Finding) -> str:
        self.found.append(finding)
        return f"told of {finding.step}. "


def trained(one: Recipe, build: Callable[[Recipe], Model], run_uri: str) -> Trained:
    result = Trained()
    with patch("mulan.training.worker.build_model", build):
        try:
            train_inline(one, run_uri, watch=result.watch, tell=result.tell)
        except MulanError as error:
            result.error = error
    dist.barrier()  # the checkpoint is written, and whoever resumes finds it
    return result


class Planted:
    """A function that builds a planted model; it can be sent to processes."""

    def __init__(self, build: Callable[[Recipe, Any], Model], places: list[Any]) -> None:
        self._build, self._places = build, places

    def __call__(self, recipe: Recipe) -> Model:
        return self._build(recipe, self._places)


def train_all(runs: list[tuple[str, Recipe, Planted]], folder: str) -> list[Trained]:
    """One after another, in one process group. A run of a name that was there goes on."""
    return [trained(one, build, f"{folder}/{name}") for name, one, build in runs]


STEEP = Planted(with_steep_places, [(1, 1), (3, 1)])
"""In steps 1 and 3, in the micro-batch that is the second worker's, where there are two."""
RUNS = [(1, 0), *((2, stage) for stage in range(4))]
"""Workers and ZeRO stage."""


@pytest.fixture(scope="module")
def skipping(tiny_corpus: str, narrow_bert: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Trained]]:
    """Runs of four steps of which two are skipped, whole and resumed after each of these; in every process."""
    found: dict[str, list[Trained]] = {}
    for workers in (1, 2):
        runs = []
        for stage in (stage for count, stage in RUNS if count == workers):
            settings = [f"train.zero_stage={stage}", "health.non_finite=warn"]
            for name, steps in (("whole", 4), ("parts", 1), ("parts", 3), ("parts", 4)):
                one = recipe(tiny_corpus, narrow_bert, *settings, f"train.steps={steps}")
                runs.append((f"{name} {workers} {stage}", one, STEEP))
        runs.append((f"stop {workers}", recipe(tiny_corpus, narrow_bert), STEEP))
        folder = tmp_path_factory.mktemp("runs")
        ranks = run_in_processes(train_all, workers, runs, str(folder), folder=tmp_path_factory.mktemp("results"))
        for number, (name, *_) in enumerate(runs):
            found[name] = [rank[number] for rank in ranks]  # of parts, the last
    return found


@pytest.mark.processes
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("workers", "stage"), RUNS)
def test_a_gradient_that_is_not_finite_updates_nothing(
    workers: int, stage: int, skipping: dict[str, list[Trained]]
) -> None:
    ranks = skipping[f"whole {workers} {stage}"]
    for rank in ranks:
        assert [line["step"] for line in rank.lines] == [1, 2, 3, 4]
        assert [line["gradient_norm"] is None for line in rank.lines] == [True, False, True, False]
        assert all(math.isfinite(line["loss"]) for line in rank.lines)
        assert [one.step for one in rank.found] == [1, 3]
    states = ranks[0].states
    assert differing(states[3], states[2]) == []
    assert differing(states[4], states[3]) != []
    assert not any(tensor.any() for name, tensor in states[1].items() if name.startswith("exp_avg"))
    assert_same_state(states[4], skipping["whole 1 0"][0].states[4])


@pytest.mark.processes
@pytest.mark.parametrize(("workers", "stage"), RUNS)
def test_a_run_that_skipped_updates_resumes_as_if_it_never_stopped(
    workers: int, stage: int, skipping: dict[str, list[Trained]]
) -> None:
    """Adam corrects its moments by the number of updates, which is not that of steps."""
    whole, resumed = (skipping[f"{name} {workers} {stage}"][0] for name in ("whole", "parts"))
    assert [line["loss"] for line in resumed.lines] == [whole.lines[3]["loss"]]
    assert differing(resumed.states[4], whole.states[4]) == []


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_all_workers_stop_by_the_same_words(
    workers: int, tiny_corpus: str, narrow_bert: str, skipping: dict[str, list[Trained]]
) -> None:
    make = MicroBatchReader.of(recipe(tiny_corpus, narrow_bert))
    expected = [make(Item(Phase.TRAIN, 0, number)).recording_id for number in range(MICRO_BATCHES)]
    told = set()
    for rank in skipping[f"stop {workers}"]:
        assert rank.lines == []
        told.add(str(rank.error))
        (finding,) = rank.found
        assert finding.recordings == expected
        assert not math.isfinite(finding.values["gradient_norm"])
    (words,) = told
    assert words.startswith("the gradient norm of step 1 is ")
    assert "the weights are those of step 0. told of 1. " in words
    assert "--set health.non_finite=warn" in words


def differing(state: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that have not the same bits."""
    assert state.keys() == other.keys()
    return [name for name, tensor in state.items() if not torch.equal(tensor, other[name])]


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_collapse_is_counted_after_the_warm_up_from_the_last_good_step_on(
    workers: int, tiny_corpus: str, narrow_bert: str, tmp_path: Path
) -> None:
    flat = Planted(collapsing, [1, 2, 3, 5, 6, 7, 8])
    settings = ["optim.warmup_steps=1", "health.collapse_steps=3", "train.steps=8"]
    whole = recipe(tiny_corpus, narrow_bert, *settings)
    half = recipe(tiny_corpus, narrow_bert, *settings, "train.steps=6")
    stopping = recipe(tiny_corpus, narrow_bert, *settings, "health.collapse=stop")
    runs = [("whole", whole, flat), ("parts", half, flat), ("parts", whole, flat), ("stop", stopping, flat)]
    for rank in run_in_processes(train_all, workers, runs, str(tmp_path / "runs"), folder=tmp_path / "out"):
        once, before, after, stopped = rank
        near = [abs(line["loss_contrastive"] / collapsed_loss(12) - 1) < 0.01 for line in once.lines]
        assert near == [True, True, True, False, True, True, True, True]
        assert [finding.step for finding in once.found] == [7]
        assert (before.found, [finding.step for finding in after.found]) == ([], [7])
        assert [line["step"] for line in stopped.lines] == [1, 2, 3, 4, 5, 6]
        assert "embeddings seem to be all the same: in the 3 steps up to 7" in str(stopped.error)
        assert "told of 7. " in str(stopped.error)


@pytest.mark.parametrize("pairs", [2, 16, 500])
def test_the_loss_of_embeddings_that_are_all_the_same(pairs: int) -> None:
    """Whatever the temperature, and also where all texts are one vector and all audio another."""
    audio, text = torch.nn.functional.normalize(torch.randn(2, 8), dim=1)
    for other in (audio, text):
        loss = contrastive_loss(audio.expand(pairs, 8), other.expand(pairs, 8), 0.03)
        assert float(loss) == pytest.approx(collapsed_loss(pairs), rel=1e-6)


def judged(steps: Iterable[dict[str, float]], *settings: str) -> tuple[list[Finding], HealthWatch]:
    """What is found in steps with these measurements, from the first on."""
    told: list[Finding] = []

    def tell(finding: Finding) -> str:
        told.append(finding)
        return ""

    one = load_recipe("demo_miniature", named_recipes(), ["health.non_finite=warn", *settings], data_uri="/nowhere")
    watch = HealthWatch(one, Progress(0), tell)
    for number, measured in enumerate(steps):
        watch.judge(number + 1, {"gradient_norm": 1.0, **measured}, lambda: [("a", "b"), ("c",)])
    return told, watch


def test_only_the_contrastive_term_can_collapse() -> None:
    flat = collapsed_loss(16)
    settings = ("health.collapse_steps=2", "optim.warmup_steps=0")
    assert len(judged([{"loss": 9.0, "loss_contrastive": flat * 0.991}] * 5, *settings)[0]) == 1
    assert judged([{"loss": 9.0, "loss_contrastive": flat * 0.989}] * 5, *settings)[0] == []
    assert judged([{"loss": flat, "loss_semisupcon": flat}] * 5, *settings)[0] == []


def test_where_every_step_goes_wrong_not_every_one_is_told() -> None:
    told, watch = judged([{"loss": math.nan, "gradient_norm": math.inf}] * 50)
    assert [finding.step for finding in told] == list(range(1, MOST_TOLD + 1))
    assert [finding.sentence.endswith("more of this is not told") for finding in told] == [False] * 19 + [True]
    assert watch.counts() == {"updates_skipped": 50, "collapsed_steps": 0, "findings": MOST_TOLD}


def test_what_is_written_of_a_step() -> None:
    told, _ = judged([{"loss": math.nan, "gradient_norm": math.inf, "temperature": 0.5}])
    assert json.loads(told[0].to_json()) == {
        "step": 1,
        "sentence": "the loss of step 1 is nan; its update is left out",
        "values": {"gradient_norm": "inf", "loss": "nan", "temperature": 0.5},
        "recordings": [["a", "b"], ["c"]],
    }
