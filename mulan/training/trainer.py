"""Ray Train's trainer, with decisions of our own: how many workers to take, when to give up, and what to start.

Ray Train has no public place for them.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ray.train import FailureConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    ResizeDecision,
    ScalingDecision,
)
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState

from mulan.config.errors import MulanError
from mulan.training.cluster import ends_with_this_process
from mulan.training.errors import TrainingFailed


class Trainer(TorchTrainer):
    """Takes only numbers of workers that share the work evenly, and counts failures anew whenever there is progress."""

    def __init__(
        self,
        *arguments: Any,
        worker_counts: list[int],
        steps_saved: Callable[[], int],
        failed: Callable[[str], None],
        **named: Any,
    ) -> None:
        """
        Args:
            worker_counts: numbers of workers that may be used between the bounds of ``scaling_config``.
            steps_saved: the step of the newest checkpoint; called in Ray Train's controller, as is
            failed: told of each failure of the workers, in words.
        """
        super().__init__(*arguments, **named)
        self._worker_counts, self._steps_saved, self._failed = worker_counts, steps_saved, failed

    def _create_default_callbacks(self) -> list[Any]:
        # each of these starts a process: to hand out the trainer's datasets, of which there are none, and to give back
        # what is reserved if the controller is killed, which the end of a Ray of our own does as well
        needless: tuple[type, ...] = (DatasetsCallback,)
        if ends_with_this_process():
            needless += (PlacementGroupCleanerCallback,)
        return [one for one in super()._create_default_callbacks() if not isinstance(one, needless)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        parts["failure_policy"] = _FailuresInARow(self.run_config.failure_config, self._steps_saved, self._failed)
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = _EvenShares(self.scaling_config, self._worker_counts, self._steps_saved)
        return super()._initialize_and_run_controller(**parts)


class _EvenShares(ElasticScalingPolicy):
    """Ray's own takes every number of workers that there is room for, and ends those that are at work at any moment.

    This one does so when a checkpoint has just been written, so that next to nothing is done again.
    """

    def __init__(self, scaling_config: ScalingConfig, worker_counts: list[int], steps_saved: Callable[[], int]) -> None:
        super().__init__(scaling_config)
        self._worker_counts, self._steps_saved = worker_counts, steps_saved
        self._resize: ResizeDecision | None = None
        self._steps_before = 0

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        room = super()._count_possible_workers(reserved_resources)
        return max((count for count in self._worker_counts if count <= room), default=0)

    def make_decision_for_non_running_worker_group(self) -> ScalingDecision:
        self._resize = None
        return super().make_decision_for_non_running_worker_group()

    def make_decision_for_running_worker_group(
        self, worker_group_state: WorkerGroupState, worker_group_status: WorkerGroupPollStatus
    ) -> ScalingDecision:
        looked = self._latest_monitor_time
        decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
        try:
            if self._latest_monitor_time != looked:  # it has looked again: the room may have gone since
                if self._resize is None:
                    self._steps_before = self._steps_saved()
                self._resize = decision if isinstance(decision, ResizeDecision) else None
            if self._resize is not None and self._steps_saved() > self._steps_before:
                decision, self._resize = self._resize, None
                return decision
        except (OSError, MulanError):  # storage that fails for a while must not end the run
            pass
        return NoopDecision()


class _FailuresInARow(DefaultFailurePolicy):
    """Ray's own counts the failures of weeks together, and a run on machines that come and go would end by them."""

    def __init__(
        self, failure_config: FailureConfig, steps_saved: Callable[[], int], failed: Callable[[str], None]
    ) -> None:
        super().__init__(failure_config)
        self._steps_saved, self._failed = steps_saved, failed
        self._steps_before = 0

    def make_decision(self, training_failed_error: TrainingFailedError) -> FailureDecision:
        with suppress(OSError, MulanError):  # storage that fails must not keep the workers from starting again
            self._failed(in_words(training_failed_error))
            steps = self._steps_saved()
            if steps > self._steps_before:
                self._steps_before, self._worker_group_failures = steps, 0
        if any(isinstance(_cause(failure), TrainingFailed) for failure in _failures(training_failed_error).values()):
            return FailureDecision.RAISE
        return super().make_decision(training_failed_error)


def in_words(error: Exception) -> str:
    """What went wrong: in our own words where it was found out, otherwise in a line for each worker."""
    causes = {rank: _cause(failure) for rank, failure in sorted(_failures(error).items())}
    for cause in causes.values():
        if isinstance(cause, TrainingFailed):
            return str(cause)
    told = [f"worker {rank}: {_first_line(cause)}" for rank, cause in causes.items()]
    return "; ".join(told) or _first_line(getattr(error, "controller_failure", error))


def _failures(error: Exception) -> Mapping[int, BaseException]:
    return getattr(error, "worker_failures", None) or {}


def _cause(failure: BaseException) -> BaseException:
    """What a worker raised, or what became of it, which Ray wraps."""
    for name in ("health_check_failure", "_base_exc", "cause"):
        failure = getattr(failure, name, None) or failure
    return failure


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    died = re.search(r"The actor is dead because [^.\n]*", text)  # stands after names and numbers
    return f"{type(error).__name__}: {died.group() if died else text}".splitlines()[0]
