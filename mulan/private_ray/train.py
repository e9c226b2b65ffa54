"""A Ray Train trainer that delegates its scaling and failure decisions, for which Ray has no public interface."""

import os
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision, FailurePolicy
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, NoopDecision, ResizeDecision


class WorkerCountPolicy(Protocol):
    """Decides how many workers are requested and started, and when the worker group is resized."""

    def usable_workers(self, room: int) -> int:
        """Returns the number of workers to start if there are resources for ``room`` workers; 0 for none."""

    def while_waiting(self) -> None:
        """Called at every poll while there are no workers. An exception ends the run."""

    def workers_to_request(self) -> int:
        """Returns the number of workers to request resources for from the autoscaler; called at every poll.

        The autoscaler starts nodes for all requested workers or, if its limits forbid some of them, for none.
        """

    def should_resize(self, offer: int | None) -> bool:
        """Returns whether the workers are to stop now, and ``offer`` workers to resume from the newest checkpoint.

        Called at every poll of the workers, about every 2 s. An exception ends the run.

        Args:
            offer: A number from :meth:`usable_workers` that differs from the current one; None if there is none.
        """


class Verdict(Enum):
    """The consequence of a failure of workers or of the controller."""

    GIVE_UP = "the run ends"
    COUNT = "one more failure: workers restart, unless there were too many failures"
    RESET_COUNT = "the first failure: earlier ones no longer count"


PAUSE_S = 0.2
"""Time in seconds between two decisions while there are no resources for workers; Ray's view of them is 1 s old."""


class DelegatingScalingPolicy(ElasticScalingPolicy):
    """Ray Train's elastic scaling, with the number of workers and the time of resizing left to a policy of ours.

    Ray's own policy uses any number of workers for which there are resources, and resizes at any time.
    """

    def __init__(self, scaling_config: ScalingConfig, count_policy: WorkerCountPolicy) -> None:
        super().__init__(scaling_config)
        self._count_policy = count_policy
        self._offer: Any = None

    def _get_num_workers_for_resource_request(self) -> int:
        return self._count_policy.workers_to_request()

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        return self._count_policy.usable_workers(super()._count_possible_workers(reserved_resources))

    def make_decision_for_non_running_worker_group(self) -> Any:
        self._offer = None
        self._count_policy.should_resize(None)
        self._count_policy.while_waiting()
        decision = super().make_decision_for_non_running_worker_group()
        # Ray polls again without a pause, which would keep a CPU of the head busy for hours
        if isinstance(decision, NoopDecision):
            time.sleep(PAUSE_S)
        return decision

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        last_time = self._latest_monitor_time
        decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
        if self._latest_monitor_time != last_time:  # Ray has checked the resources again: the offer may be outdated
            self._offer = decision if isinstance(decision, ResizeDecision) else None
        if self._count_policy.should_resize(None if self._offer is None else self._offer.num_workers):
            decision, self._offer = self._offer, None
            return decision
        return NoopDecision()


class DelegatingFailurePolicy(FailurePolicy):
    """Ray Train's failure limit, applied to the failures that ``verdict`` counts."""

    def __init__(self, failure_config: FailureConfig, verdict: Callable[[Exception], Verdict]) -> None:
        super().__init__(failure_config)
        self._verdict = verdict
        self._counted = DefaultFailurePolicy(failure_config)

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        verdict = self._verdict(training_failed_error)
        if verdict is Verdict.GIVE_UP:
            return FailureDecision.RAISE
        if verdict is Verdict.RESET_COUNT:
            self._counted = DefaultFailurePolicy(self.failure_config)
        return self._counted.make_decision(training_failed_error)


def worker_errors(error: Exception) -> dict[int, BaseException]:
    """Returns the error or the loss of each failed worker, ordered by rank; empty if none failed."""
    failures = getattr(error, "worker_failures", None) or {}
    return {rank: _cause(failure) for rank, failure in sorted(failures.items())}


def controller_error(error: Exception) -> BaseException:
    """Returns the error of the controller, or ``error`` itself if it wraps none."""
    return getattr(error, "controller_failure", None) or error


def is_startup_timeout(error: Exception) -> bool:
    """Returns whether the only failure is that there were no resources for the workers; Ray Train then waits again."""
    return isinstance(controller_error(error), WorkerGroupStartupTimeoutError)


def _cause(failure: BaseException) -> BaseException:
    for name in ("health_check_failure", "_base_exc", "cause"):
        failure = getattr(failure, name, None) or failure
    return failure


class DelegatingTrainer(TorchTrainer):
    """A TorchTrainer, without datasets, that delegates scaling and failures to ``count_policy`` and ``verdict``."""

    def __init__(
        self,
        *arguments: Any,
        count_policy: WorkerCountPolicy,
        verdict: Callable[[Exception], Verdict],
        **named: Any,
    ) -> None:
        """
        Args:
            count_policy: Used only if ``scaling_config`` is elastic. It is pickled, like ``verdict``, and called in Ray
                Train's controller.
            verdict: Called with each failure (``ray.train.TrainingFailedError``).
        """
        super().__init__(*arguments, **named)
        self._count_policy, self._verdict = count_policy, verdict

    def _create_default_callbacks(self) -> list[Any]:
        # each of these starts a process: to serve datasets, and to remove the placement groups of a killed controller,
        # which works only with a dashboard and a single Ray on the machine; see mulan.private_ray.core
        unneeded = DatasetsCallback, PlacementGroupCleanerCallback
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unneeded)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        parts["failure_policy"] = DelegatingFailurePolicy(self.run_config.failure_config, self._verdict)
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = DelegatingScalingPolicy(self.scaling_config, self._count_policy)
        return super()._initialize_and_run_controller(**parts)


def set_health_check_timeout(seconds: float) -> None:
    """Sets the time after which an unresponsive worker has failed, for controllers started from this process.

    The controller reads it only from the environment.
    """
    os.environ[WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR] = str(seconds)
