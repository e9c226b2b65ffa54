"""Tests the number of workers, the counting of failures, and their descriptions."""

import pickle

import pytest
from ray.train import ControllerError, WorkerGroupError

from mulan.launch import policies
from mulan.launch.policies import (
    EvenShares,
    FailuresInARow,
    StoppedWaiting,
    TrainingFailed,
    describe_error,
    final_cause,
)
from mulan.private_ray.train import Verdict


def no_limit() -> int | None:
    return None


def never() -> bool:
    return False


@pytest.mark.parametrize(("room", "workers"), [(16, 8), (8, 8), (7, 4), (4, 4), (3, 2), (1, 1), (0, 0)])
def test_the_largest_number_of_workers_that_share_the_batch_evenly_is_used(room: int, workers: int) -> None:
    assert EvenShares([1, 2, 4, 8], lambda: 0, no_limit, never).usable_workers(room) == workers


@pytest.mark.parametrize(("worker_limit", "requested"), [(None, 8), (16, 8), (7, 4), (1, 2), (0, 2)])
def test_only_workers_that_the_cluster_can_ever_hold_are_requested(worker_limit: int | None, requested: int) -> None:
    assert EvenShares([2, 4, 8], lambda: 0, lambda: worker_limit, never).workers_to_request() == requested


def test_a_raised_limit_is_noticed_after_the_poll_period(monkeypatch: pytest.MonkeyPatch) -> None:
    room = [1]
    shares = EvenShares([1, 2], lambda: 0, lambda: room[0], never)
    assert shares.workers_to_request() == 1
    room[0] = 2
    assert shares.workers_to_request() == 1  # not queried again within the period
    monkeypatch.setattr(EvenShares, "POLL_PERIOD_S", 0.0)
    assert shares.workers_to_request() == 2


def test_running_workers_are_resized_only_right_after_a_checkpoint() -> None:
    saved = [10]
    shares = EvenShares([1, 2, 4, 8], lambda: saved[0], no_limit, never)
    assert not shares.should_resize(None)
    saved[0] = 20
    assert not shares.should_resize(None)  # a checkpoint without an offer
    assert not shares.should_resize(4)
    assert not shares.should_resize(4)
    saved[0] = 30
    assert shares.should_resize(4)
    assert not shares.should_resize(4)  # the next workers are not stopped for the same checkpoint
    assert not shares.should_resize(None)
    saved[0] = 40
    assert not shares.should_resize(4)  # the checkpoint is older than the new offer
    saved[0] = 50
    assert shares.should_resize(4)


def unreadable() -> int:
    raise OSError("the network is down")


def test_a_storage_failure_does_not_stop_workers() -> None:
    shares = EvenShares([1, 2], unreadable, no_limit, never)
    assert not shares.should_resize(None)
    assert not shares.should_resize(2)


def lost(*messages: str) -> WorkerGroupError:
    return WorkerGroupError("lost", {rank: RuntimeError(message) for rank, message in enumerate(messages)})


def test_failures_are_counted_until_the_next_checkpoint() -> None:
    saved, descriptions = [0], []
    verdict = FailuresInARow(lambda: saved[0], descriptions.append, never)
    assert [verdict(lost("gone")) for _ in range(2)] == [Verdict.COUNT] * 2
    saved[0] = 100
    assert [verdict(lost("gone")) for _ in range(2)] == [Verdict.RESET_COUNT, Verdict.COUNT]
    assert descriptions == ["worker 0: RuntimeError: gone"] * 4


def test_an_error_that_another_attempt_would_meet_again_ends_the_run() -> None:
    verdict = FailuresInARow(lambda: 0, lambda _: None, never)
    assert verdict(lost("gone")) is Verdict.COUNT
    final = WorkerGroupError(
        "failed", {0: RuntimeError("Connection closed by peer"), 1: TrainingFailed("no such shard")}
    )
    assert verdict(final) is Verdict.GIVE_UP
    assert final_cause(final) is final.worker_failures[1]
    named = WorkerGroupError("failed", {0: TrainingFailed("nan", exit_code=2, cause_name="NonFiniteStep")})
    assert final_cause(named) is named.worker_failures[0]
    assert final_cause(lost("gone")) is None


def test_a_startup_timeout_is_not_recorded_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptions: list[str] = []
    verdict = FailuresInARow(lambda: 0, descriptions.append, never)
    monkeypatch.setattr(policies, "is_startup_timeout", lambda error: True)
    assert verdict(ControllerError(TimeoutError("no workers within a minute"))) is Verdict.COUNT
    assert not descriptions


def test_the_exit_code_is_that_of_the_error_that_ended_training() -> None:
    assert TrainingFailed("two workers were lost too often").exit_code == 1
    refused = pickle.loads(pickle.dumps(TrainingFailed("credentials", exit_code=2, cause_name="StorageError")))
    assert (str(refused), refused.exit_code, refused.cause_name) == ("credentials", 2, "StorageError")


def test_a_failure_counts_if_the_progress_cannot_be_read() -> None:
    assert FailuresInARow(unreadable, lambda _: None, never)(lost("gone")) is Verdict.COUNT


def test_descriptions_of_failures() -> None:
    assert describe_error(lost("one\ntraceback", "two")) == "worker 0: RuntimeError: one; worker 1: RuntimeError: two"
    final = TrainingFailed("no such shard\nlook for it")
    assert (
        describe_error(WorkerGroupError("failed", {0: RuntimeError("collateral"), 1: final}))
        == "no such shard\nlook for it"
    )
    assert describe_error(ControllerError(TimeoutError("no workers\nwithin a minute"))) == "TimeoutError: no workers"


def test_a_request_to_stop_ends_a_run_that_waits_for_workers_or_has_lost_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded: list[str] = []
    verdict = FailuresInARow(lambda: 0, recorded.append, lambda: True)
    with pytest.raises(StoppedWaiting) as stopped:
        EvenShares([1, 2], lambda: 0, no_limit, lambda: True).while_waiting()
    assert verdict(ControllerError(stopped.value)) is Verdict.GIVE_UP
    assert not recorded
    assert verdict(lost("gone")) is Verdict.GIVE_UP
    assert len(recorded) == 1
    monkeypatch.setattr(policies, "is_startup_timeout", lambda error: True)
    assert verdict(ControllerError(TimeoutError("no workers within a minute"))) is Verdict.GIVE_UP
    assert len(recorded) == 1


def test_storage_that_does_not_answer_is_no_request_to_stop() -> None:
    EvenShares([1, 2], lambda: 0, no_limit, unanswered).while_waiting()
    assert FailuresInARow(lambda: 0, lambda _: None, unanswered)(lost("gone")) is Verdict.COUNT


def unanswered() -> bool:
    raise OSError("timed out")
