"""The training observers of Ray Train's workers: the first one records to the run's folder, and all report to Ray."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray.train

from mulan.config.errors import MulanError
from mulan.data.errors import SkippedRecording
from mulan.launch.readers_watch import ReadersWatch
from mulan.runs.recorder import Recorder
from mulan.runs.run import Run
from mulan.runs.stop import StopWatch
from mulan.training.engines.base import CheckpointedEngine
from mulan.training.health import Anomaly
from mulan.training.observer import NullObserver
from mulan.training.state import Progress


class RayObserver(NullObserver):
    """The observer of every worker: gathers the checkpoint and reports to Ray Train, which all workers must do."""

    def __init__(self, run: Run, engine: CheckpointedEngine) -> None:
        self._run, self._engine = run, engine

    def on_anomaly(self, anomaly: Anomaly) -> str:
        return f"Its recordings: {self._run.anomaly_uri(anomaly.step)}. See: {self._run.replay_command(anomaly.step)}. "

    def on_validation(self, metrics: dict[str, Any]) -> None:
        ray.train.report(metrics)

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        self._engine.state(kept=False)
        ray.train.report(metrics)

    def preempted_nodes(self) -> frozenset[str]:
        info = ray.train.get_preemption_info()
        return frozenset(info.preempted_node_ids if info else ())


class RecordingRayObserver(RayObserver):
    """The observer of the first worker, which also records everything in the run's folder."""

    def __init__(
        self,
        run: Run,
        engine: CheckpointedEngine,
        recorder: Recorder,
        readers: ReadersWatch,
        stop: StopWatch,
        *,
        trained_on: Sequence[str],
    ) -> None:
        """``trained_on``: the kinds of device on which the run has been trained, including those of this attempt."""
        super().__init__(run, engine)
        self._recorder, self._readers, self._stop, self._trained_on = recorder, readers, stop, trained_on
        self._preempted: set[str] = set()

    def on_step(self, metrics: dict[str, Any]) -> None:
        self._recorder.step(metrics | {"data_cpus": self._readers.cpus()})

    def on_skipped_recordings(self, step: int, recordings: Sequence[SkippedRecording]) -> None:
        self._recorder.skipped(step, recordings)

    def on_anomaly(self, anomaly: Anomaly) -> str:
        self._recorder.anomaly(anomaly)
        return super().on_anomaly(anomaly)

    def on_validation(self, metrics: dict[str, Any]) -> None:
        self._recorder.flush()
        super().on_validation(metrics)

    def on_checkpoint(self, metrics: dict[str, Any], progress: Progress) -> None:
        self._recorder.checkpoint(self._engine.state(), metrics, replace(progress, trained_on=self._trained_on))
        ray.train.report(metrics)

    def fatal_error(self) -> MulanError | None:
        return self._recorder.storage_error()

    def stop_requested(self) -> bool:
        return self._stop.is_requested

    def preempted_nodes(self) -> frozenset[str]:
        nodes = super().preempted_nodes()
        if new := nodes - self._preempted:
            self._recorder.event(f"nodes about to be preempted: {', '.join(sorted(new))}")
        self._preempted |= nodes
        return nodes
