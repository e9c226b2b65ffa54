"""Ray Train: how its controller is given decisions from outside, for which it has no public place."""

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


class WorkerCounts(Protocol):
    """Decides how many workers are asked for and taken, and when those at work are ended to take another number."""

    def workers_for(self, room: int) -> int:
        """Chooses a number of workers, at most ``room``, which is how many there are resources for; 0 for none."""

    def ask_for(self) -> int:
        """Chooses for how many workers the autoscaler is asked to make room, at every poll.

        It brings nodes for all that are asked for or, where its limits forbid some of them, for none.
        """

    def change_now(self, offer: int | None) -> bool:
        """Decides whether the workers at work are ended now, from their newest checkpoint on ``offer`` others go on.

        It is asked at every poll of the workers, every 2 s or so. What it raises ends the run.

        Args:
            offer: a number that :meth:`workers_for` gave, and other than that at work; None while there is no such
                offer, or no longer.
        """


class Verdict(Enum):
    """What follows from a failure of workers or of the controller."""

    GIVE_UP = "the run ends"
    COUNT = "one more failure: workers start again, unless that makes too many"
    COUNT_ANEW = "the first failure: those before it no longer count"


PAUSE_S = 0.2
"""Between two looks, while there is no room for workers; Ray finds anything new after a second at the earliest."""


class ElasticWorkers(ElasticScalingPolicy):
    """Ray Train's elastic scaling, which takes every number of workers that there is room for, at any moment, with both
    left to a :class:`WorkerCounts`."""

    def __init__(self, scaling_config: ScalingConfig, counts: WorkerCounts) -> None:
        super().__init__(scaling_config)
        self._counts = counts
        self._offered: Any = None

    def _get_num_workers_for_resource_request(self) -> int:
        return self._counts.ask_for()

    def _count_possible_workers(self, reserved_resources: Any) -> int:
        return self._counts.workers_for(super()._count_possible_workers(reserved_resources))

    def make_decision_for_non_running_worker_group(self) -> Any:
        self._offered = None
        self._counts.change_now(None)
        decision = super().make_decision_for_non_running_worker_group()
        # Ray asks again at once, and would keep a CPU of the head busy for hours
        if isinstance(decision, NoopDecision):
            time.sleep(PAUSE_S)
        return decision

    def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
        looked = self._latest_monitor_time
        decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
        if self._latest_monitor_time != looked:  # it has looked again: the room may have gone since
            self._offered = decision if isinstance(decision, ResizeDecision) else None
        if self._counts.change_now(None if self._offered is None else self._offered.num_workers):
            decision, self._offered = self._offered, None
            return decision
        return NoopDecision()


class Failures(FailurePolicy):
    """Ray Train's limits for failures, applied to those that ``verdict`` has counted."""

    def __init__(self, failure_config: FailureConfig, verdict: Callable[[Exception], Verdict]) -> None:
        super().__init__(failure_config)
        self._verdict = verdict
        self._counted = DefaultFailurePolicy(failure_config)

    def make_decision(self, training_failed_error: Any) -> FailureDecision:
        verdict = self._verdict(training_failed_error)
        if verdict is Verdict.GIVE_UP:
            return FailureDecision.RAISE
        if verdict is Verdict.COUNT_ANEW:
            self._counted = DefaultFailurePolicy(self.failure_config)
        return self._counted.make_decision(training_failed_error)


def worker_causes(error: Exception) -> dict[int, BaseException]:
    """What each worker that failed has raised, or what became of it, by rank in order; empty if none has failed."""
    failures = getattr(error, "worker_failures", None) or {}
    return {rank: _cause(failure) for rank, failure in sorted(failures.items())}


def controller_cause(error: Exception) -> BaseException:
    """What kept the controller from going on; ``error`` itself if that says so."""
    return getattr(error, "controller_failure", None) or error


def waited_in_vain(error: Exception) -> bool:
    """Tells whether nothing has failed, and there was only no room for the workers: Ray Train then waits once more."""
    return isinstance(controller_cause(error), WorkerGroupStartupTimeoutError)


def _cause(failure: BaseException) -> BaseException:
    for name in ("health_check_failure", "_base_exc", "cause"):
        failure = getattr(failure, name, None) or failure
    return failure


class DecidedTrainer(TorchTrainer):
    """Trains on the workers that :class:`WorkerCounts` takes, until a verdict gives up; it hands out no datasets."""

    def __init__(
        self,
        *arguments: Any,
        counts: WorkerCounts,
        verdict: Callable[[Exception], Verdict],
        **named: Any,
    ) -> None:
        """
        Args:
            counts: asked only where ``scaling_config`` leaves a choice. It is pickled, as ``verdict`` is, and called in
                Ray Train's controller.
            verdict: told of each failure (``ray.train.TrainingFailedError``).
        """
        super().__init__(*arguments, **named)
        self._counts, self._verdict = counts, verdict

    def _create_default_callbacks(self) -> list[Any]:
        # each of these starts a process: to hand out datasets, and to give back what a controller that was killed had
        # reserved, which works only beside a dashboard and a single Ray; see mulan.private_ray.core
        needless = DatasetsCallback, PlacementGroupCleanerCallback
        return [one for one in super()._create_default_callbacks() if not isinstance(one, needless)]

    def _initialize_and_run_controller(self, **parts: Any) -> Any:
        parts["failure_policy"] = Failures(self.run_config.failure_config, self._verdict)
        if self.scaling_config.elasticity_enabled:
            parts["scaling_policy"] = ElasticWorkers(self.scaling_config, self._counts)
        return super()._initialize_and_run_controller(**parts)


def wait_for_answers(seconds: float) -> None:
    """Sets how long a worker that does not answer is waited for, in controllers started from this process.

    The controller takes it from the environment alone.
    """
    os.environ[WORKER_HEALTH_CHECK_TIMEOUT_S_ENV_VAR] = str(seconds)
