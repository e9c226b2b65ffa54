"""What Ray Train's controller is told to do with the workers, for what was decided."""

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
    """Takes a power of two, and changes when told so."""

    def __init__(self) -> None:
        self.offers: list[int | None] = []
        self.changes = False

    def workers_to_request(self) -> int:
        return 4

    def usable_workers(self, room: int) -> int:
        return 2 ** (room.bit_length() - 1) if room else 0

    def should_resize(self, offer: int | None) -> bool:
        self.offers.append(offer)
        return self.changes and offer is not None


class OnMachines(DelegatingScalingPolicy):
    """Told here, and not by Ray, what room there is."""

    def __init__(self, counts: PowersOfTwo, *, least: int = 1, period_s: float = AT_EVERY_POLL) -> None:
        config = ScalingConfig(
            num_workers=(least, 8), resources_per_worker={"CPU": 2}, elastic_resize_monitor_interval_s=period_s
        )
        super().__init__(config, counts)
        self.cpus: Sequence[int] = ()

    def _maybe_send_resource_request(self) -> None:
        pass

    def _get_reserved_resources(self) -> dict[str, dict[str, float]]:
        return {f"node-{number}": {"CPU": float(count)} for number, count in enumerate(self.cpus)}

    def polled(self, *cpus: int) -> Any:
        """What is decided while one worker is at work, which began long ago."""
        self.cpus = cpus
        return self.make_decision_for_running_worker_group(SimpleNamespace(start_time=0.0, num_workers=1), None)


@pytest.mark.parametrize(("cpus", "workers"), [([8, 8], 8), ([4, 4, 4], 4), ([6, 3], 4), ([3, 3], 2), ([2], 1)])
def test_as_many_workers_start_as_are_taken_of_the_room(cpus: Sequence[int], workers: int) -> None:
    policy = OnMachines(PowersOfTwo())
    policy.cpus = cpus
    decision = policy.make_decision_for_non_running_worker_group()
    assert isinstance(decision, ResizeDecision)
    assert (decision.num_workers, decision.resources_per_worker["CPU"]) == (workers, 2)


def test_nodes_are_asked_for_as_is_decided() -> None:
    assert OnMachines(PowersOfTwo())._get_num_workers_for_resource_request() == 4


def test_none_start_where_fewer_are_taken_than_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = OnMachines(PowersOfTwo(), least=4)
    policy.cpus = [6]
    paused: list[float] = []
    monkeypatch.setattr(train.time, "sleep", paused.append)
    assert isinstance(policy.make_decision_for_non_running_worker_group(), NoopDecision)
    assert paused == [train.PAUSE_S]  # Ray asks again at once


def test_workers_at_work_change_when_it_is_time() -> None:
    counts = PowersOfTwo()
    policy = OnMachines(counts)
    assert [type(policy.polled(*cpus)) for cpus in ([2], [8], [8], [2], [8])] == [NoopDecision] * 5
    assert counts.offers == [None, 4, 4, None, 4]
    counts.changes = True
    decision = policy.polled(8)
    assert isinstance(decision, ResizeDecision)
    assert decision.num_workers == 4
    assert isinstance(policy.polled(2), NoopDecision)


def test_an_offer_stands_until_ray_looks_again() -> None:
    counts = PowersOfTwo()
    policy = OnMachines(counts, period_s=3600.0)
    assert isinstance(policy.polled(8), NoopDecision)
    assert isinstance(policy.polled(2), NoopDecision)
    assert counts.offers == [4, 4]
    policy.make_decision_for_non_running_worker_group()  # those workers are gone, and the offer with them
    assert isinstance(policy.polled(8), NoopDecision)
    assert counts.offers == [4, 4, None, None]
