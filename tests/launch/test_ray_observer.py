"""Tests the observers of Ray Train's workers: all of them report, and the first one records."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mulan.data.errors import SkippedRecording
from mulan.launch.ray_observer import RayObserver, RecordingRayObserver
from mulan.runs.checkpoint import read_newest
from mulan.runs.checkpoint_list import checkpoints as checkpoints_of
from mulan.runs.checkpoint_writer import CheckpointWriter
from mulan.runs.interruptions import Interruptions
from mulan.runs.recorder import Recorder, read_quarantine
from mulan.runs.run import Run
from mulan.storage.jsonl import read_lines
from mulan.telemetry.gauges import Reading
from mulan.telemetry.run_telemetry import RunTelemetry
from mulan.training.health import Anomaly
from mulan.training.state import Progress
from mulan.training.tensor_slices import TensorSlice
from tests.checkpoints import slices_of

METRICS = {"step": 3, "loss": 2.0, "step_s": 0.5, "data_wait_s": 0.1, "model_flops": 100}
ANOMALY = Anomaly(3, "the loss of step 3 is nan", {}, [("a",)])


class Engine:
    """Has a weight."""

    def own_state(self) -> list[TensorSlice]:
        return slices_of({"weights.a": torch.ones(1)})


def writer(folder: str) -> CheckpointWriter:
    return CheckpointWriter(folder, keep_latest=1, keep_best=0)


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Returns the metrics reported to Ray Train, which announces the preemption of node-2."""
    reported: list[dict[str, Any]] = []
    monkeypatch.setattr("ray.train.report", reported.append)
    monkeypatch.setattr("ray.train.get_preemption_info", lambda: SimpleNamespace(preempted_node_ids=["node-2"]))
    return reported


def observe(observer: RayObserver) -> str:
    """Calls an observer like the training loop, and returns its hint about an anomaly."""
    observer.on_step(METRICS)
    observer.on_skipped_recordings(3, [SkippedRecording("b", "silent", "nothing but zeros")])
    hint = observer.on_anomaly(ANOMALY)
    observer.on_validation(METRICS | {"validation_recall10": 0.5})
    observer.on_checkpoint(METRICS | {"validation_recall10": 0.5}, Progress(3, {"silent": 1}))
    assert observer.preempted_nodes() == observer.preempted_nodes() == {"node-2"}
    assert observer.fatal_error() is None
    return hint


def test_the_first_worker_writes_and_every_worker_reports(tmp_path: Path, reported: list[dict[str, Any]]) -> None:
    run, engine = Run(str(tmp_path), "run"), Engine()
    published: list[Reading] = []
    publisher = SimpleNamespace(update=published.extend)
    telemetry = RunTelemetry(publisher, rank=0, device=torch.device("cpu"))  # type: ignore[arg-type]
    with writer(str(tmp_path / "other")) as checkpoints:
        other = RayObserver(run, engine, telemetry, checkpoints)  # type: ignore[arg-type]
        hint = observe(other)
    assert published == []
    assert not (tmp_path / "run").exists()
    saved = read_newest(str(tmp_path / "other"), on_corrupt=pytest.fail)
    assert saved is not None and list(saved.state) == ["weights.a"]
    readers = SimpleNamespace(cpus=lambda: 4)
    stop = SimpleNamespace(is_requested=True)
    with Recorder(run, first_step=0) as recorder, writer(run.uri) as checkpoints:
        observer = RecordingRayObserver(
            run,
            engine,  # type: ignore[arg-type]
            telemetry,
            checkpoints,
            recorder,
            readers,  # type: ignore[arg-type]
            stop,  # type: ignore[arg-type]
            selected_by="recall10",
            trained_on=["cpu"],
            pairs=16,
            peaks=[500.0, 500.0],
            interruptions=Interruptions([], lost=[(7.0, 30.0)]),
        )
        begun = time.time()
        assert observe(observer) == hint  # all workers end with the same message
        assert observer.stop_requested() and not other.stop_requested()
    assert reported == 4 * [METRICS | {"validation_recall10": 0.5}]
    (line,) = run.metrics()
    assert begun <= line["time"] <= time.time()
    assert line == METRICS | {"time": line["time"], "data_cpus": 4, "mfu": 0.2}  # 200 FLOP/s of 1000
    assert {Reading("mulan_mfu", 0.2), Reading("mulan_pairs", 48), Reading("mulan_lost_seconds", 30)} < {*published}
    assert [row["recording_id"] for row in read_quarantine(run.quarantine_uri)] == ["b"]
    events = [line["event"] for line in read_lines(run.events_uri)]
    events.remove("nodes about to be preempted: node-2")  # in any order: an anomaly is written in a thread
    assert len(events) == 1  # a node is named once
    assert run.anomaly_uri(3) in events[0] and run.anomaly_uri(3) in hint
    checkpoint = read_newest(run.uri, on_corrupt=pytest.fail)
    assert checkpoint is not None
    assert checkpoint.progress == Progress(3, {"silent": 1}, trained_on=["cpu"])
    assert [one.score for one in checkpoints_of(run.uri)] == [0.5]


@pytest.mark.usefixtures("reported")
def test_the_first_step_after_a_failure_reports_what_it_has_cost(tmp_path: Path) -> None:
    run, published = Run(str(tmp_path), "run"), list[Reading]()
    publisher = SimpleNamespace(update=published.extend)
    began = time.time()
    with Recorder(run, first_step=0) as recorder, writer(run.uri) as checkpoints:
        observer = RecordingRayObserver(
            run,
            Engine(),  # type: ignore[arg-type]
            RunTelemetry(publisher, rank=0, device=torch.device("cpu")),  # type: ignore[arg-type]
            checkpoints,
            recorder,
            SimpleNamespace(cpus=lambda: 4),  # type: ignore[arg-type]
            SimpleNamespace(is_requested=False),  # type: ignore[arg-type]
            selected_by="recall10",
            trained_on=[],
            pairs=16,
            peaks=[None],
            interruptions=Interruptions([began - 50], [(began - 900, 30.0)], progress_until=began - 100),
        )
        observer.on_step(METRICS)
        observer.on_step(METRICS | {"step": 4})
        observer.on_checkpoint(METRICS, Progress(4))
        checkpoints.wait()
        observer.on_step(METRICS | {"step": 5})
    (event,) = read_lines(run.events_uri)
    assert event["lost_s"] == pytest.approx(100 - 0.5, abs=5)  # until the first step began, half a second ago
    assert event["event"].endswith(" s were lost to failures: until the restart, and by the steps to repeat")
    assert [reading.value for reading in published if reading.gauge == "mulan_lost_seconds"] == [30 + event["lost_s"]]
    assert Reading("mulan_checkpoint_step", 4) in published
    assert "mfu" not in run.metrics()[0]
