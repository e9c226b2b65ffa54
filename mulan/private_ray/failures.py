"""How Ray Train's controller is told whether a failure ends the run, and what was raised, which Ray wraps."""

from collections.abc import Callable
from typing import Any

from ray.train import FailureConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision, FailurePolicy

from mulan.private_ray.decisions import Verdict


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
