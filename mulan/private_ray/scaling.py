"""How Ray Train's controller is told how many workers to take."""

import time
from typing import Any

from ray.train import ScalingConfig
from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, NoopDecision, ResizeDecision

from mulan.private_ray.decisions import WorkerCounts

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
