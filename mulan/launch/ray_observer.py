"""The training observers of Ray Train's workers: the first one records to the run's folder, and all report to Ray."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray.train

from mulan.config.errors import MulanError
from mulan.data.errors import SkippedRecording
from mulan.launch.readers_watch import ReadersWatch
from mulan.runs.checkpoint_writer import CheckpointWriter
from mulan.runs.interruptions import LOST, Interruptions
from mulan.runs.recorder import Recorder
from mulan.runs.run import Run
from mulan.runs.stop import StopWatch
from mulan.telemetry.peaks import utilization
from mulan.telemetry.run_telemetry import RunTelemetry
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.health import Anomaly
from mulan.training.observer import NullObserver
from mulan.training.state import Progress


class RayObserver(NullObserver):
    """The observer of every worker: saves its part of each checkpoint and reports to Ray Train, as all workers must."""

    def __init__(
        self, run: Run, engine: CheckpointedEngine, telemetry: RunTelemetry, checkpoints: CheckpointWriter
    ) -> None:
        self._run, self._engine, self._telemetry, self._checkpoints = run, engine, telemetry, checkpoints

    def on_step(self, metrics: dict[str, Any]) -> None:
        self._telemetry.device_memory()

    def on_anomaly(self, anomaly: Anomaly) -> str:
        return f"Its recordings: {self._run.anomaly_uri(anomaly.step)}. See: {self._run.replay_command(anomaly.step)}. "

    def on_validation(self, metrics: dict[str, Any]) -> None:
        ray.train.report(metrics)

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        self._checkpoints.save(self._engine.own_state(), progress)
        ray.train.report(metrics)

    def fatal_error(self) -> MulanError | None:
        return self._checkpoints.error()

    def preempted_nodes(self) -> frozenset[str]:
        info = ray.train.get_preemption_info()
        return frozenset(info.preempted_node_ids if info else ())


class RecordingRayObserver(RayObserver):
    """The observer of the first worker, which also records everything in the run's folder."""

    def __init__(
        self,
        run: Run,
        engine: CheckpointedEngine,
        telemetry: RunTelemetry,
        checkpoints: CheckpointWriter,
        recorder: Recorder,
        readers: ReadersWatch,
        stop: StopWatch,
        *,
        selected_by: str,
        trained_on: Sequence[str],
        pairs: int,
        peaks: Sequence[float | None],
        interruptions: Interruptions,
    ) -> None:
        """
        Args:
            selected_by: The name of the validation score by which the best checkpoints are kept.
            trained_on: The kinds of device on which the run has been trained, including those of this attempt.
            pairs: The number of pairs of the global batch.
            peaks: The peak FLOP/s of each worker's device; None where it is unknown.
            interruptions: The failures of the run before this attempt.
        """
        super().__init__(run, engine, telemetry, checkpoints)
        self._recorder, self._readers, self._stop, self._trained_on = recorder, readers, stop, trained_on
        self._selected_by, self._pairs, self._peaks, self._interruptions = selected_by, pairs, peaks, interruptions
        self._preempted: set[str] = set()
        self._has_step = False

    def on_step(self, metrics: dict[str, Any]) -> None:
        line = metrics | {"time": time.time(), "data_cpus": self._readers.cpus()}
        if "model_flops" in line:
            share = utilization(line["model_flops"] / line["step_s"], self._peaks)
            line |= {} if share is None else {"mfu": share}
        if not self._has_step:
            self._report_lost_time(line["time"] - line["step_s"])
            self._has_step = True
        self._recorder.step(line)
        super().on_step(line)
        self._telemetry.step(line, pairs=self._pairs)
        if (written := self._checkpoints.written) is not None:
            self._telemetry.checkpoint(written.steps_done, written.seconds)

    def _report_lost_time(self, first_step_began: float) -> None:
        lost_s = self._interruptions.newly_lost_s(first_step_began)
        if lost_s > 0:
            text = f"{lost_s:.0f} s were lost to failures: until the restart, and by the steps to repeat"
            self._recorder.event(text, fields={LOST: lost_s})
        self._telemetry.lost(self._interruptions.lost_s + lost_s)

    def on_skipped_recordings(self, step: int, recordings: Sequence[SkippedRecording]) -> None:
        self._recorder.skipped(step, recordings)

    def on_anomaly(self, anomaly: Anomaly) -> str:
        self._recorder.anomaly(anomaly)
        return super().on_anomaly(anomaly)

    def on_validation(self, metrics: dict[str, Any]) -> None:
        self._recorder.flush()
        super().on_validation(metrics)

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        progress = replace(progress, trained_on=self._trained_on)
        score, records = metrics.get(f"validation_{self._selected_by}"), self._recorder.flush()
        # after the records of all steps up to it, so that a resumed run has them
        self._checkpoints.save(self._engine.own_state(), progress, score=score, after=records.result)
        ray.train.report(metrics)

    def fatal_error(self) -> MulanError | None:
        return self._recorder.storage_error() or super().fatal_error()

    def stop_requested(self) -> bool:
        return self._stop.is_requested

    def preempted_nodes(self) -> frozenset[str]:
        nodes = super().preempted_nodes()
        if new := nodes - self._preempted:
            self._recorder.event(f"nodes about to be preempted: {', '.join(sorted(new))}")
        self._preempted |= nodes
        return nodes
