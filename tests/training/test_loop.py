"""Tests the training loop with an engine of one matrix and a recording observer: no Ray, no DeepSpeed, no corpus."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mulan.config.errors import MulanError
from mulan.config.recipe import Recipe
from mulan.data.batch import Batch
from mulan.data.errors import SkippedRecording, TooManySkippedRecordings
from mulan.data.schedule import Item, Phase, Schedule
from mulan.instrumentation.on_worker import instruments_on_worker
from mulan.instrumentation.settings import InstrumentSettings, StepRange
from mulan.model.device_batch import DeviceBatch, to_device
from mulan.model.outputs import Embeddings, unit_rows
from mulan.recipes.registry import load_recipe
from mulan.tasks.task import task_of
from mulan.training import loop
from mulan.training.health import Anomaly, NonFiniteStep
from mulan.training.instrument import StepInstrument
from mulan.training.loop import train
from mulan.training.observer import NullObserver
from mulan.training.state import Progress

BEGINNING = Progress(steps_done=0)
PAIRS, SAMPLES = 4, 8
SETTINGS = ["batch.micro_batches=2", f"batch.pairs_per_micro_batch={PAIRS}", "train.steps=6", "scale.workers=1"]
SETTINGS += ["train.validate_every_steps=2", "train.validation_micro_batches=2", "train.checkpoint_every_steps=3"]


class MatrixEngine:
    """Embeds audio and text with one matrix, which it trains by gradient descent."""

    micro_batches = micro_batches_per_worker = 2

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = torch.nn.Linear(SAMPLES, 2)

    def to_device(self, batch: Batch) -> DeviceBatch:
        return to_device(batch, torch.device("cpu"), text_groups=1)

    def forward(self, batch: DeviceBatch) -> Embeddings:
        audio, text = self.module(batch.waveform[:, 0].float()), self.module(batch.token_ids.float())
        return Embeddings(unit_rows(audio), unit_rows(text), temperature=torch.tensor(0.5))

    def backward(self, scalar: torch.Tensor) -> None:
        scalar.backward()  # type: ignore[no-untyped-call]

    def step(self) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self.module.parameters(), math.inf))
        for parameter in self.module.parameters():
            assert parameter.grad is not None
            if math.isfinite(norm):
                parameter.data -= 0.01 * parameter.grad
            parameter.grad = None
        return norm

    def evaluation_mode(self, on: bool) -> None:
        self.module.train(not on)


class RecordingObserver(NullObserver):
    """Records what it receives, and reports the given preempted nodes and error."""

    def __init__(self, preempted: Sequence[str] = (), error: MulanError | None = None, stop_in_step: int = 0) -> None:
        self.lines: list[str] = []
        self.metrics: list[dict[str, Any]] = []
        self.progress: list[Progress] = []
        self._preempted, self._error, self._stop_in_step = list(preempted), error, stop_in_step

    def on_step(self, metrics: dict[str, Any]) -> None:
        self.metrics.append(metrics)
        self.lines.append(f"step {metrics['step']}")

    def on_skipped_recordings(self, step: int, recordings: Sequence[SkippedRecording]) -> None:
        self.lines += [f"skipped {recording.name}" for recording in recordings]

    def on_anomaly(self, anomaly: Anomaly) -> str:
        self.lines.append(f"anomaly of step {anomaly.step} in {len(anomaly.recordings)} micro-batches")
        return "See the log. "

    def on_validation(self, metrics: dict[str, Any]) -> None:
        self.lines.append(f"validation, recall {metrics['validation_recall10']:.0f}")

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        self.progress.append(progress)
        self.lines.append(f"checkpoint {progress.steps_done}")

    def fatal_error(self) -> MulanError | None:
        return self._error if len(self.metrics) == 1 else None  # in the second step

    def stop_requested(self) -> bool:
        return len(self.metrics) + 1 == self._stop_in_step

    def preempted_nodes(self) -> frozenset[str]:
        return frozenset(self._preempted[: len(self.metrics)])  # one more in every step


def recipe(*settings: str) -> Recipe:
    return load_recipe("demo_miniature", [*SETTINGS, *settings], data_uri="/nowhere")


def batch_of(item: Item) -> Batch:
    rows = np.random.default_rng([item.step, item.micro_batch]).integers(1, 9, (PAIRS, SAMPLES))
    tags, names = np.zeros((PAIRS, 0), np.uint8), tuple(f"{item.micro_batch}.{row}" for row in range(PAIRS))
    return Batch(item, rows[:, None].astype(np.int16), rows, np.ones_like(rows), tags, names, skipped=())


def trained(
    one: Recipe,
    observer: RecordingObserver,
    engine: MatrixEngine | None = None,
    progress: Progress = BEGINNING,
    skip: str = "",
    instruments: Sequence[StepInstrument] = (),
) -> RecordingObserver:
    """Trains; ``skip`` is the name of a recording that is skipped in each training micro-batch."""
    schedule = Schedule(one.train, one.batch, rank=0, workers=1, first_step=progress.steps_done)
    bad = (SkippedRecording(skip, "silent", "nothing but zeros"),) if skip else ()

    def batches() -> Iterator[Batch]:
        for number in range(len(schedule)):
            item = schedule[number]
            yield replace(batch_of(item), skipped=bad if item.phase is Phase.TRAIN else ())

    train(task_of(one), one, engine or MatrixEngine(), batches(), schedule, progress, observer, instruments=instruments)
    return observer


def test_steps_are_logged_validated_and_saved() -> None:
    observer = trained(recipe(), RecordingObserver())
    assert observer.lines == [
        "step 1",
        "step 2",
        "validation, recall 1",
        "step 3",
        "checkpoint 3",
        "step 4",
        "validation, recall 1",
        "step 5",
        "step 6",
        "checkpoint 6",  # with the scores of the last validation
    ]
    assert [metrics["step"] for metrics in observer.metrics if "validation" in metrics] == [2, 4, 6]
    assert {"loss", "loss_contrastive", "grad_norm", "learning_rate", "data_wait_s"} < observer.metrics[0].keys()


def test_a_resumed_run_equals_an_uninterrupted_one() -> None:
    whole, engine = trained(recipe(), RecordingObserver()), MatrixEngine()
    first = trained(recipe("train.steps=3"), RecordingObserver(), engine)
    rest = trained(recipe(), RecordingObserver(), engine, first.progress[-1])
    assert [line["loss"] for line in first.metrics + rest.metrics] == [line["loss"] for line in whole.metrics]


class RecordingInstrument(StepInstrument):
    """Records its calls among the lines of an observer."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self._name, self._lines = name, lines

    def begin_step(self, step: int) -> None:
        self._lines.append(f"{self._name} begins {step}")

    def end_step(self, step: int) -> None:
        self._lines.append(f"{self._name} ends {step}")


def test_instruments_are_called_around_each_step_but_not_around_its_validation() -> None:
    observer = RecordingObserver()
    instruments = [RecordingInstrument(name, observer.lines) for name in ("outer", "inner")]
    trained(recipe("train.steps=2"), observer, instruments=instruments)
    calls = ["outer begins", "inner begins", "inner ends", "outer ends"]
    first, second = ([f"{call} {step}" for call in calls] for step in (1, 2))
    assert observer.lines == [*first, "step 1", *second, "step 2", "checkpoint 2"]


def test_profiled_and_watched_steps_compute_the_same_numbers(tmp_path: Path) -> None:
    plain, plain_engine, engine = RecordingObserver(), MatrixEngine(), MatrixEngine()
    trained(recipe(), plain, plain_engine)
    settings, observed = InstrumentSettings(StepRange(2, 3), watch_hangs=True), RecordingObserver()
    with instruments_on_worker(
        settings,
        iter(()),
        run_uri=str(tmp_path),
        steps_done=0,
        collective_timeout_s=600.0,
        device=torch.device("cpu"),
        report=None,
    ) as (instruments, _):
        trained(recipe(), observed, engine, instruments=instruments)
    assert (tmp_path / "profile" / "steps_2-3" / "rank_0.json.gz").exists()
    for name in ("loss", "grad_norm", "temperature"):
        assert [line[name] for line in observed.metrics] == [line[name] for line in plain.metrics]
    assert torch.equal(engine.module.weight, plain_engine.module.weight)


@pytest.mark.parametrize("step", [1, 2, 3, 6])  # without a validation, with one, with a checkpoint, the last step
def test_a_stopped_run_saves_its_step_and_continues_like_an_undisturbed_one(step: int) -> None:
    whole, engine, undisturbed = trained(recipe(), RecordingObserver()), MatrixEngine(), MatrixEngine()
    trained(recipe(), RecordingObserver(), undisturbed)
    first = trained(recipe(), RecordingObserver(stop_in_step=step), engine)
    assert first.lines[-1] == f"checkpoint {step}"
    assert [line["step"] for line in first.metrics] == list(range(1, step + 1))
    rest = trained(recipe(), RecordingObserver(), engine, first.progress[-1])
    both = first.metrics + rest.metrics
    assert [line["loss"] for line in both] == [line["loss"] for line in whole.metrics]
    assert [line.get("validation") for line in both] == [line.get("validation") for line in whole.metrics]
    assert torch.equal(engine.module.weight, undisturbed.module.weight)


@pytest.mark.parametrize("schedule", ["step", "linear", "cosine"])
def test_a_lengthened_run_equals_one_of_that_length_from_the_start(schedule: str) -> None:
    fixed = [f"optim.schedule={schedule}", f"optim.decay_until_step={0 if schedule == 'step' else 10}"]
    longer, engine = trained(recipe("train.steps=10", *fixed), RecordingObserver()), MatrixEngine()
    other = ("train.checkpoint_every_steps=2", "train.validate_every_steps=5", "train.keep_latest_checkpoints=7")
    first = trained(recipe("train.steps=5", "train.checkpoint_every_steps=4", *fixed), RecordingObserver(), engine)
    rest = trained(recipe("train.steps=10", *other, *fixed), RecordingObserver(), engine, first.progress[-1])
    assert [progress.steps_done for progress in first.progress] == [4, 5]
    changing = ("step_s", "pairs_per_s", "data_wait_s", "validation")
    assert [
        {name: value for name, value in line.items() if name not in changing} for line in first.metrics + rest.metrics
    ] == [{name: value for name, value in line.items() if name not in changing} for line in longer.metrics]
    scores = {line["step"]: line.get("validation") for line in first.metrics + rest.metrics}
    assert [step for step in scores if scores[step]] == [2, 4, 5, 10]
    assert scores[10] == longer.metrics[-1]["validation"]


def test_a_fatal_error_is_raised_before_the_step_is_logged() -> None:
    observer = RecordingObserver(error=MulanError("no space left"))
    with pytest.raises(MulanError, match="no space left"):
        trained(recipe(), observer)
    assert observer.lines == ["step 1"]


def test_each_preempted_node_causes_one_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PREEMPTION_PERIOD_S", 0.0)
    observer = trained(recipe("train.checkpoint_every_steps=6"), RecordingObserver(preempted=["node-1", "node-2"]))
    assert [progress.steps_done for progress in observer.progress] == [1, 2, 6]
    monkeypatch.setattr(loop, "PREEMPTION_PERIOD_S", 3600.0)
    observer = trained(recipe("train.checkpoint_every_steps=6"), RecordingObserver(preempted=["node-1", "node-2"]))
    assert [progress.steps_done for progress in observer.progress] == [1, 6]  # not called again for an hour


def test_skipped_recordings_are_counted_and_end_the_run_if_there_are_too_many() -> None:
    observer = trained(recipe("train.steps=2"), RecordingObserver(), skip="a")
    assert observer.lines == ["step 1", "skipped a", "skipped a", "step 2", "skipped a", "skipped a", "checkpoint 2"]
    assert observer.progress[-1].skipped_recordings == observer.metrics[-1]["skipped_recordings"] == {"silent": 4}
    with pytest.raises(TooManySkippedRecordings, match=r"allows 5 in 1000\n  - silent: 6\nthe last: a: silent: "):
        trained(recipe("data.max_skipped_share=0.005"), observer, progress=observer.progress[-1], skip="a")
    assert observer.lines[-3:] == ["step 3", "skipped a", "skipped a"]  # reported before the run ends


def test_a_loss_that_is_not_finite_stops_the_run_or_is_logged_as_none() -> None:
    engine, observer = MatrixEngine(), RecordingObserver()
    engine.module.weight.data.fill_(math.nan)
    with pytest.raises(NonFiniteStep, match=r"loss of step 1 is nan; .* See the log\. "):
        trained(recipe(), observer, engine)
    assert observer.lines == ["anomaly of step 1 in 2 micro-batches"]
    observer = trained(recipe("train.steps=1", "health.non_finite=warn"), RecordingObserver(), engine)
    assert observer.metrics[0]["loss"] is None
    assert (observer.progress[0].updates_skipped, observer.progress[0].anomalies) == (1, 1)
