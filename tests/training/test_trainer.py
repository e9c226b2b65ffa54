"""How many workers are taken, when a run is given up, and what is told of failures."""

from collections.abc import Sequence
from typing import Any, cast
from unittest.mock import patch

import pytest
from ray.train import FailureConfig, ScalingConfig
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
from ray.train.v2._internal.execution.failure_handling import FailureDecision
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision, ScalingDecision
from ray.train.v2._internal.execution.worker_group import WorkerGroupPollStatus, WorkerGroupState
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from mulan.training.errors import TrainingFailed
from mulan.training.trainer import Trainer, _EvenShares, _FailuresInARow, in_words

SCALING = ScalingConfig(num_workers=(1, 8), resources_per_worker={"CPU": 2}, elastic_resize_monitor_interval_s=0.0)
ONE_WORKER = WorkerGroupState(0.0, cast(Any, None), [cast(Any, None)], cast(Any, None))


@pytest.mark.parametrize("own_ray", [False, True])
def test_no_process_is_started_that_has_nothing_to_do(own_ray: bool) -> None:
    trainer = Trainer(print, worker_counts=[1], steps_saved=lambda: 0, failed=print, scaling_config=SCALING)
    with patch("mulan.training.trainer.ends_with_this_process", return_value=own_ray):
        started = {type(callback).__name__ for callback in trainer._create_default_callbacks()}
    assert "BackendSetupCallback" in started
    assert "DatasetsCallback" not in started
    assert ("PlacementGroupCleanerCallback" in started) is not own_ray


def room(cpus: Sequence[int]) -> dict[str, dict[str, float]]:
    return {f"node-{number}": {"CPU": float(count)} for number, count in enumerate(cpus)}


@pytest.mark.parametrize(
    ("cpus", "workers"), [([8, 8], 8), ([4, 4, 4], 4), ([6, 3], 4), ([3, 3], 2), ([2], 1), ([], 0)]
)
def test_as_many_workers_as_share_the_batch_evenly(cpus: Sequence[int], workers: int) -> None:
    policy = _EvenShares(SCALING, [1, 2, 4, 8], lambda: 0)
    assert policy._count_possible_workers(room(cpus)) == workers


class OnMachines(_EvenShares):
    """Told here, and not by Ray, what room there is."""

    cpus: Sequence[int] = ()

    def _maybe_send_resource_request(self) -> None:
        pass

    def _get_reserved_resources(self) -> dict[str, dict[str, float]]:
        return room(self.cpus)


def test_workers_at_work_are_ended_only_when_a_checkpoint_has_just_been_written() -> None:
    saved = [10]
    policy = OnMachines(SCALING, [1, 2, 4, 8], lambda: saved[0])

    def decision(*cpus: int) -> ScalingDecision:
        policy.cpus = cpus
        return policy.make_decision_for_running_worker_group(ONE_WORKER, WorkerGroupPollStatus({}))

    assert isinstance(decision(2), NoopDecision)
    saved[0] = 20
    assert isinstance(decision(2), NoopDecision)  # a checkpoint alone is no reason
    assert isinstance(decision(8), NoopDecision)
    assert isinstance(decision(8), NoopDecision)
    saved[0] = 30
    more = decision(8)
    assert isinstance(more, ResizeDecision)
    assert more.num_workers == 4
    assert isinstance(decision(8), NoopDecision)  # the next ones are not ended for the same checkpoint
    assert isinstance(decision(2), NoopDecision)  # the room has gone
    saved[0] = 40
    assert isinstance(decision(2), NoopDecision)


def lost(*messages: str) -> WorkerGroupError:
    return WorkerGroupError("lost", {rank: RuntimeError(message) for rank, message in enumerate(messages)})


def test_failures_are_counted_until_a_new_checkpoint_stands() -> None:
    saved, told = [0], []
    policy = _FailuresInARow(FailureConfig(max_failures=2), lambda: saved[0], told.append)

    def decisions(count: int) -> list[FailureDecision]:
        return [policy.make_decision(lost("gone")) for _ in range(count)]

    retry, give_up = FailureDecision.RETRY, FailureDecision.RAISE
    assert decisions(2) == [retry, retry]
    saved[0] = 100
    assert decisions(2) == [retry, retry]
    assert decisions(1) == [give_up]
    assert told == ["worker 0: RuntimeError: gone"] * 5


def test_what_another_attempt_would_meet_again_is_not_tried_again() -> None:
    policy = _FailuresInARow(FailureConfig(max_failures=-1), lambda: 0, lambda _: None)
    assert policy.make_decision(lost("gone")) == FailureDecision.RETRY
    final = WorkerGroupError(
        "failed", {0: RuntimeError("Connection closed by peer"), 1: TrainingFailed("no such shard")}
    )
    assert policy.make_decision(final) == FailureDecision.RAISE


def test_storage_that_fails_ends_no_run_by_itself() -> None:
    def unreadable() -> int:
        raise OSError("the network is away")

    policy = _FailuresInARow(FailureConfig(max_failures=1), unreadable, lambda _: None)
    assert policy.make_decision(lost("gone")) == FailureDecision.RETRY
    assert policy.make_decision(lost("gone")) == FailureDecision.RAISE


def test_a_failure_in_words() -> None:
    assert in_words(lost("one\ntraceback", "two")) == "worker 0: RuntimeError: one; worker 1: RuntimeError: two"
    final = UserExceptionWithTraceback(TrainingFailed("no such shard\nlook for it"), "a traceback")
    assert (
        in_words(WorkerGroupError("failed", {0: RuntimeError("collateral"), 1: final})) == "no such shard\nlook for it"
    )
    assert in_words(ControllerError(TimeoutError("no workers\nwithin a minute"))) == "TimeoutError: no workers"
