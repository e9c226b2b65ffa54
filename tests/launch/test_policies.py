"""Tests the number of workers, when a run gives up, and how failures are described."""

import pickle

import pytest
from ray.train import ControllerError, WorkerGroupError

from mulan.launch import policies
from mulan.launch.policies import EvenShares, FailuresInARow, TrainingFailed, describe_error, final_cause
from mulan.private_ray.train import Verdict


def no_limit() -> int | None:
    return None


@pytest.mark.parametrize(("room", "workers"), [(16, 8), (8, 8), (7, 4), (4, 4), (3, 2), (1, 1), (0, 0)])
def test_as_many_workers_as_share_the_batch_evenly(room: int, workers: int) -> None:
    assert EvenShares([1, 2, 4, 8], lambda: 0, no_limit).usable_workers(room) == workers


@pytest.mark.parametrize(("worker_limit", "asked_for"), [(None, 8), (16, 8), (7, 4), (1, 2), (0, 2)])
def test_workers_are_asked_for_that_there_can_ever_be(worker_limit: int | None, asked_for: int) -> None:
    assert EvenShares([2, 4, 8], lambda: 0, lambda: worker_limit).workers_to_request() == asked_for


def test_a_limit_that_is_raised_is_seen_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    room = [1]
    shares = EvenShares([1, 2], lambda: 0, lambda: room[0])
    assert shares.workers_to_request() == 1
    room[0] = 2
    assert shares.workers_to_request() == 1  # a poll comes at every moment
    monkeypatch.setattr(EvenShares, "POLL_PERIOD_S", 0.0)
    assert shares.workers_to_request() == 2


def test_workers_at_work_are_ended_only_when_a_checkpoint_has_just_been_written() -> None:
    saved = [10]
    shares = EvenShares([1, 2, 4, 8], lambda: saved[0], no_limit)
    assert not shares.should_resize(None)
    saved[0] = 20
    assert not shares.should_resize(None)  # a checkpoint alone is no reason
    assert not shares.should_resize(4)
    assert not shares.should_resize(4)
    saved[0] = 30
    assert shares.should_resize(4)
    assert not shares.should_resize(4)  # the next ones are not ended for the same checkpoint
    assert not shares.should_resize(None)
    saved[0] = 40
    assert not shares.should_resize(4)  # of a new offer
    saved[0] = 50
    assert shares.should_resize(4)


def unreadable() -> int:
    raise OSError("the network is away")


def test_storage_that_fails_ends_no_workers() -> None:
    shares = EvenShares([1, 2], unreadable, no_limit)
    assert not shares.should_resize(None)
    assert not shares.should_resize(2)


def lost(*messages: str) -> WorkerGroupError:
    return WorkerGroupError("lost", {rank: RuntimeError(message) for rank, message in enumerate(messages)})


def test_failures_are_counted_until_a_new_checkpoint_stands() -> None:
    saved, told = [0], []
    verdict = FailuresInARow(lambda: saved[0], told.append)
    assert [verdict(lost("gone")) for _ in range(2)] == [Verdict.COUNT] * 2
    saved[0] = 100
    assert [verdict(lost("gone")) for _ in range(2)] == [Verdict.RESET_COUNT, Verdict.COUNT]
    assert told == ["worker 0: RuntimeError: gone"] * 4


def test_what_another_attempt_would_meet_again_is_not_tried_again() -> None:
    verdict = FailuresInARow(lambda: 0, lambda _: None)
    assert verdict(lost("gone")) is Verdict.COUNT
    final = WorkerGroupError(
        "failed", {0: RuntimeError("Connection closed by peer"), 1: TrainingFailed("no such shard")}
    )
    assert verdict(final) is Verdict.GIVE_UP
    assert final_cause(final) is final.worker_failures[1]
    assert final_cause(lost("gone")) is None


def test_no_room_for_workers_is_not_told_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    verdict = FailuresInARow(lambda: 0, told.append)
    monkeypatch.setattr(policies, "is_startup_timeout", lambda error: True)
    assert verdict(ControllerError(TimeoutError("no workers within a minute"))) is Verdict.COUNT
    assert not told


def test_whether_to_retry_a_run_is_told_by_what_ended_it() -> None:
    assert TrainingFailed("two workers were lost too often").exit_code == 1
    refused = pickle.loads(pickle.dumps(TrainingFailed("credentials", exit_code=2)))
    assert (str(refused), refused.exit_code) == ("credentials", 2)


def test_a_failure_counts_where_storage_does_not_tell_of_progress() -> None:
    assert FailuresInARow(unreadable, lambda _: None)(lost("gone")) is Verdict.COUNT


def test_a_failure_in_words() -> None:
    assert describe_error(lost("one\ntraceback", "two")) == "worker 0: RuntimeError: one; worker 1: RuntimeError: two"
    final = TrainingFailed("no such shard\nlook for it")
    assert (
        describe_error(WorkerGroupError("failed", {0: RuntimeError("collateral"), 1: final}))
        == "no such shard\nlook for it"
    )
    assert describe_error(ControllerError(TimeoutError("no workers\nwithin a minute"))) == "TimeoutError: no workers"
