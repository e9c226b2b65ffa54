"""Tests that failures are retried or end the run by the verdict, and that the causes inside Ray's errors are found."""

import pytest
from ray.exceptions import RayTaskError
from ray.train import ControllerError, FailureConfig, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
)
from ray.train.v2._internal.execution.failure_handling import FailureDecision

from mulan.private_ray.train import (
    DelegatingFailurePolicy,
    Verdict,
    controller_error,
    is_startup_timeout,
    worker_errors,
)

LOST = WorkerGroupError("lost", {0: RuntimeError("gone")})
RETRY, RAISE = FailureDecision.RETRY, FailureDecision.RAISE
COUNT, RESET_COUNT, GIVE_UP = Verdict.COUNT, Verdict.RESET_COUNT, Verdict.GIVE_UP


@pytest.mark.parametrize(
    ("verdicts", "decisions"),
    [
        ([COUNT, COUNT, COUNT], [RETRY, RETRY, RAISE]),
        ([COUNT, COUNT, RESET_COUNT, COUNT, COUNT], [RETRY, RETRY, RETRY, RETRY, RAISE]),
        ([GIVE_UP], [RAISE]),
    ],
)
def test_failures_that_count_are_retried_up_to_the_limit(
    verdicts: list[Verdict], decisions: list[FailureDecision]
) -> None:
    remaining = iter(verdicts)
    policy = DelegatingFailurePolicy(FailureConfig(max_failures=2), lambda _: next(remaining))
    assert [policy.make_decision(LOST) for _ in verdicts] == decisions


def test_the_verdict_receives_the_error_unchanged() -> None:
    errors: list[Exception] = []

    def verdict(error: Exception) -> Verdict:
        errors.append(error)
        return COUNT

    DelegatingFailurePolicy(FailureConfig(), verdict).make_decision(LOST)
    assert errors == [LOST]


def test_causes_inside_all_wrappers_are_returned() -> None:
    cause = ValueError("no such shard")
    of_task = RayTaskError("train", "a traceback", cause)
    error = WorkerGroupError(
        "failed",
        {
            3: UserExceptionWithTraceback(cause, "a traceback"),
            1: WorkerHealthCheckFailedError("unhealthy", of_task),
            0: cause,
        },
    )
    assert list(worker_errors(error).items()) == [(0, cause), (1, cause), (3, cause)]


def test_an_error_of_the_controller_is_returned() -> None:
    cause = TimeoutError("no workers within a minute")
    assert worker_errors(ControllerError(cause)) == {}
    assert controller_error(ControllerError(cause)) is cause
    assert controller_error(cause) is cause


def test_a_startup_timeout_is_recognized_and_retried_without_limit() -> None:
    no_room = ControllerError(WorkerGroupStartupTimeoutError(2))
    assert is_startup_timeout(no_room)
    assert not is_startup_timeout(ControllerError(TimeoutError()))
    assert not is_startup_timeout(LOST)
    policy = DelegatingFailurePolicy(FailureConfig(max_failures=0), lambda _: COUNT)
    assert [policy.make_decision(no_room) for _ in range(3)] == [RETRY] * 3
