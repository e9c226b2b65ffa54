"""Tests that decisions of a worker count policy become decisions of Ray Train's controller."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision

from mulan.private_ray import train
from mulan.private_ray.train import DelegatingScalingPolicy

AT_EVERY_POLL = 0.0


class PowersOfTwo:
    """Uses powers of two, and resizes if ``resizes`` is True."""

    def __init__(self) -> None:
        self.offers: list[int | None] = []
        self.resizes = False
        self.waits = 0

    def workers_to_request(self) -> int:
        return 4

    def usable_workers(self, room: int) -> int:
        return 2 ** (room.bit_length() - 1) if room else 0

    def while_waiting(self) -> None:
        self.waits += 1

    def should_resize(self, offer: int | None) -> bool:
        self.offers.append(offer)
        return self.resizes and offer is not None


class WithFakeNodes(DelegatingScalingPolicy):
    """Uses the resources of fake nodes instead of those reserved by Ray."""

    def __init__(self, counts: PowersOfTwo, *, min_workers: int = 1, period_s: float = AT_EVERY_POLL) -> None:
        config = ScalingConfig(
            num_workers=(min_workers, 8), resources_per_worker={"CPU": 2}, elastic_resize_monitor_interval_s=period_s
        )
        super().__init__(config, counts)
        self.cpus: Sequence[int] = ()

    def _maybe_send_resource_request(self) -> None:
        pass

    def _get_reserved_resources(self) -> dict[str, dict[str, float]]:
        return {f"node-{number}": {"CPU": float(count)} for number, count in enumerate(self.cpus)}

    def decision(self, *cpus: int) -> Any:
        """Returns the decision for one running worker that was started long ago."""
        self.cpus = cpus
        return self.make_decision_for_running_worker_group(SimpleNamespace(start_time=0.0, num_workers=1), None)


@pytest.mark.parametrize(("cpus", "workers"), [([8, 8], 8), ([4, 4, 4], 4), ([6, 3], 4), ([3, 3], 2), ([2], 1)])
def test_the_usable_number_of_workers_is_started(cpus: Sequence[int], workers: int) -> None:
    policy = WithFakeNodes(PowersOfTwo())
    policy.cpus = cpus
    decision = policy.make_decision_for_non_running_worker_group()
    assert isinstance(decision, ResizeDecision)
    assert (decision.num_workers, decision.resources_per_worker["CPU"]) == (workers, 2)


def test_the_requested_number_of_workers_is_that_of_the_policy() -> None:
    assert WithFakeNodes(PowersOfTwo())._get_num_workers_for_resource_request() == 4


def test_no_worker_is_started_below_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = PowersOfTwo()
    policy = WithFakeNodes(counts, min_workers=4)
    policy.cpus = [6]
    pauses: list[float] = []
    monkeypatch.setattr(train.time, "sleep", pauses.append)
    assert isinstance(policy.make_decision_for_non_running_worker_group(), NoopDecision)
    assert pauses == [train.PAUSE_S]  # Ray polls again at once
    assert counts.waits == 1
    policy.decision(2)  # of running workers
    assert counts.waits == 1


def test_running_workers_are_resized_when_the_policy_decides() -> None:
    counts = PowersOfTwo()
    policy = WithFakeNodes(counts)
    assert [type(policy.decision(*cpus)) for cpus in ([2], [8], [8], [2], [8])] == [NoopDecision] * 5
    assert counts.offers == [None, 4, 4, None, 4]
    counts.resizes = True
    decision = policy.decision(8)
    assert isinstance(decision, ResizeDecision)
    assert decision.num_workers == 4
    assert isinstance(policy.decision(2), NoopDecision)


def test_an_offer_is_valid_until_ray_checks_the_resources_again() -> None:
    counts = PowersOfTwo()
    policy = WithFakeNodes(counts, period_s=3600.0)
    assert isinstance(policy.decision(8), NoopDecision)
    assert isinstance(policy.decision(2), NoopDecision)
    assert counts.offers == [4, 4]
    policy.make_decision_for_non_running_worker_group()  # the workers have ended, and the offer with them
    assert isinstance(policy.decision(8), NoopDecision)
    assert counts.offers == [4, 4, None, None]
